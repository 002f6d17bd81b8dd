/** The turns, oldest first, in a box that follows the newest text until the reader scrolls up. */
import type { Turn } from './conversation';
import { button, make } from './dom';
import type { RenderReply, ReplyText } from './reply_text';

/** Closer to the end than this counts as being there: fractional sizes and zoom never give an exact zero. */
const END_PX = 40;

export class Transcript {
  readonly root: HTMLElement;
  readonly #list: HTMLOListElement;
  readonly #empty: HTMLElement;
  readonly #edit: HTMLButtonElement;
  #following = true;
  #lastTop = 0;

  constructor(
    private readonly render: () => RenderReply,
    onEdit: () => void,
  ) {
    this.#list = make('ol', { part: 'messages', role: 'list' }); // Safari takes the role away with the list's style
    const words = make('p', {}, 'Everything you write here stays on this device, unless you agree to something else.');
    this.#empty = make('div', { part: 'empty' }, make('slot', { name: 'empty' }, words));
    this.#edit = button('edit', 'Edit', onEdit);
    // In the order of focus, because a box that scrolls must be reachable without a mouse.
    this.root = make(
      'div',
      { part: 'transcript', role: 'group', 'aria-label': 'Conversation', tabindex: '0' },
      this.#empty,
      this.#list,
    );
    this.root.addEventListener('scroll', () => this.#look(), { passive: true });
    new ResizeObserver(() => this.followEnd()).observe(this.root); // a question opens below, a phone is turned
  }

  addUser(text: string): void {
    const words = make('div', { part: 'text', dir: 'auto' }, text);
    this.#add('user', 'You', words).append(this.#edit);
    this.#following = true;
    this.#lastTop = this.root.scrollTop;
    this.followEnd();
  }

  addReply(host: string | undefined): ReplyView {
    const words = make('div', { part: 'text', dir: 'auto' });
    const note = make('p', { part: 'note' });
    const turn = this.#add('reply', 'Reply', words);
    turn.append(note);
    this.followEnd();
    return new ReplyView(turn, note, this.render()(words), host, () => this.followEnd());
  }

  /** These in place of what was shown. */
  show(turns: readonly Turn[]): void {
    this.#list.replaceChildren();
    this.#empty.hidden = false;
    for (const { role, text, host } of turns) {
      if (role === 'user') this.addUser(text);
      else this.#addWhole(text, host);
    }
  }

  /** While a reply comes there is nothing to edit. */
  setBusy(busy: boolean): void {
    this.#edit.setAttribute('aria-disabled', String(busy));
  }

  followEnd(): void {
    this.#look(); // a scroll is told a frame later than it happens, and text may come in between
    if (!this.#following) return;
    this.root.scrollTop = this.root.scrollHeight;
    this.#lastTop = this.root.scrollTop;
  }

  #addWhole(text: string, host: string | undefined): void {
    const reply = this.addReply(host);
    reply.append(text);
    reply.end('');
  }

  #add(part: string, who: string, words: HTMLElement): HTMLLIElement {
    const turn = make('li', { part: `message ${part}` }, make('span', { class: 'unseen' }, `${who}: `), words);
    this.#empty.hidden = true;
    this.#list.append(turn);
    return turn;
  }

  /** Text that was added below is no scroll, so only a move upwards means that the reader left the end. */
  #look(): void {
    const { scrollTop, scrollHeight, clientHeight } = this.root;
    if (scrollHeight - scrollTop - clientHeight <= END_PX) this.#following = true;
    else if (scrollTop < this.#lastTop) this.#following = false;
    this.#lastTop = scrollTop;
  }
}

export class ReplyView {
  constructor(
    private readonly turn: HTMLElement,
    private readonly note: HTMLElement,
    private readonly words: ReplyText,
    private readonly host: string | undefined,
    private readonly onGrow: () => void,
  ) {
    this.turn.dataset.state = 'waiting';
  }

  append(text: string): void {
    this.turn.dataset.state = 'growing';
    this.words.append(text);
    this.onGrow();
  }

  /** `note`: how it ended, where that is worth a word. */
  end(note: string): void {
    this.turn.dataset.state = 'done';
    this.words.end();
    const by = this.host === undefined ? '' : `answered by ${this.host}`;
    this.note.textContent = [by, note].filter(Boolean).join(' · ');
    this.onGrow();
  }
}
