/** Text files that go along with a message: read here, and given to the model as fenced text with their name. Pure but for the reading. */
import { formatBytes, isolated } from './format';
import type { Parsed } from './model_choice';

export type Attachment = { name: string; text: string };

export const MOST_ATTACHMENT_BYTES = 262_144;
export const MOST_ATTACHMENTS = 8;
/** Characters of the name of a file, and of that of a conversation. */
export const MOST_NAME = 120;

/** Says in words why a file cannot go along: too large, or no text in UTF-8. */
export async function readAttachment(file: Pick<File, 'name' | 'size' | 'arrayBuffer'>): Promise<Parsed<Attachment>> {
  const name = shortName(file.name);
  const words = isolated(name);
  if (file.size > MOST_ATTACHMENT_BYTES)
    return { message: `${words} has ${formatBytes(file.size)}; a text file may have ${formatBytes(MOST_ATTACHMENT_BYTES)}.` };
  try {
    const text = new TextDecoder('utf-8', { fatal: true }).decode(await file.arrayBuffer());
    if (!text.includes('\0')) return { value: { name, text } };
  } catch (error) {
    if (error instanceof DOMException) return { message: `${words} could not be read. Choose it again.` };
    if (!(error instanceof TypeError)) throw error;
  }
  return { message: `${words} is no text file. Text in UTF-8 can be attached.` };
}

/** Names come from outside: control characters, those that turn the direction of text included, go. */
export function shortName(name: string, otherwise = 'file'): string {
  const plain = name.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, '').trim();
  return plain.length <= MOST_NAME ? plain || otherwise : `${plain.slice(0, MOST_NAME - 1)}…`;
}

/** A message with its files behind it, each within a fence that nothing in it can close. */
export function messageText(text: string, attachments: readonly Attachment[] = []): string {
  const files = attachments.map(({ name, text: content }) => {
    const longest = Math.max(2, ...[...content.matchAll(/`+/g)].map(([run]) => run.length));
    const fence = '`'.repeat(longest + 1);
    return `File: ${name}\n${fence}\n${content.replace(/\n$/, '')}\n${fence}`;
  });
  return [text, ...files].filter((part) => part !== '').join('\n\n');
}
