/**
 * <sluice-chat>: a chat on any page, from one script tag.
 *
 *   <script type="module" src="sluice-chat.js"></script>
 *   <sluice-chat model="owner/name" gpu-budget="4GB" context="4096"></sluice-chat>
 */
import { SluiceChat } from './sluice_chat';

export { EngineError } from '../errors';
export type { Turn } from './conversation';
export type { RenderReply, ReplyText } from './reply_text';
export { SluiceChat };

// A page may have the script twice; the first one stays.
if (globalThis.customElements && !customElements.get('sluice-chat')) customElements.define('sluice-chat', SluiceChat);

declare global {
  interface HTMLElementTagNameMap {
    'sluice-chat': SluiceChat;
  }
}
