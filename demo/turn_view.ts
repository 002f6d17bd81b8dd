/** One turn of the conversation on the page. Built from the templates of index.html; text enters as text nodes or as reply_text.ts has it. */
import type { Timings, Usage } from '../src/api';
import { chipOf } from './attachment_chips';
import type { Call, ReplyEnd, Turn } from './conversation';
import { cloneTemplate, copyText, flash, focusAnyway, onPress, part, setUnavailable } from './dom';
import { formatCount, formatRate } from './format';
import { ReplyText } from './reply_text';
import { isSendKey } from './send_key';
import { StreamText } from './stream_text';

/** Which of the turns that stand for each other this is, from 0. */
export type Place = { at: number; of: number };

export type TurnHooks = {
  onGrow(): void;
  onCopied(copied: boolean): void;
  /** To the version before (-1) or after (1). */
  onBranch(step: -1 | 1): void;
};

export interface TurnView {
  readonly root: HTMLElement;
  /** False while a reply runs or waits: the conversation stays as it is then. */
  setFree(free: boolean): void;
  showPlace(place: Place): void;
  focusBranch(step: -1 | 1): void;
  release(): void;
}

/** The buttons that go from one version of a turn to the next. */
class BranchButtons {
  readonly #root: HTMLElement;
  #place: Place = { at: 0, of: 1 };
  #free = true;

  constructor(turn: HTMLElement, onBranch: TurnHooks['onBranch']) {
    this.#root = part(turn, 'branches');
    onPress(this.#button(-1), () => onBranch(-1));
    onPress(this.#button(1), () => onBranch(1));
  }

  show(place: Place, free: boolean): void {
    this.#place = place;
    this.#free = free;
    this.#root.hidden = place.of < 2;
    part(this.#root, 'place').textContent = `${place.at + 1}/${place.of}`;
    setUnavailable(this.#button(-1), !free || place.at === 0);
    setUnavailable(this.#button(1), !free || place.at === place.of - 1);
  }

  setFree(free: boolean): void {
    this.show(this.#place, free);
  }

  showPlace(place: Place): void {
    this.show(place, this.#free);
  }

  focus(step: -1 | 1): void {
    focusAnyway(this.#button(step));
  }

  #button(step: -1 | 1): HTMLElement {
    return part(this.#root, step < 0 ? 'before' : 'after');
  }
}

export class UserView implements TurnView {
  readonly root = cloneTemplate('user-turn');
  readonly #branches: BranchButtons;
  readonly #input = part<HTMLTextAreaElement>(this.root, 'input');

  constructor(
    private readonly turn: Turn,
    hooks: TurnHooks & { onEdit(text: string): boolean },
  ) {
    part(this.root, 'text').textContent = turn.text;
    part(this.root, 'text').hidden = turn.text === '';
    part(this.root, 'files').append(...(turn.attachments ?? []).map((each) => chipOf(each)));
    this.#branches = new BranchButtons(this.root, hooks.onBranch);
    onPress(part(this.root, 'edit'), () => this.#setEditing(true));
    onPress(part(this.root, 'cancel'), () => this.#setEditing(false));
    const submit = () => {
      const text = this.#input.value.trim();
      if (text === '' && !turn.attachments) return;
      if (hooks.onEdit(text)) this.#setEditing(false);
    };
    onPress(part(this.root, 'resend'), submit);
    this.#input.addEventListener('keydown', (event) => {
      if (event.key === 'Escape' && !event.isComposing) {
        event.stopPropagation();
        this.#setEditing(false);
      }
      if (!isSendKey(event)) return;
      event.preventDefault();
      if (!event.repeat) submit();
    });
  }

  setFree(free: boolean): void {
    setUnavailable(part(this.root, 'edit'), !free);
    this.#branches.setFree(free);
  }

  showPlace(place: Place): void {
    this.#branches.showPlace(place);
  }

  focusBranch(step: -1 | 1): void {
    this.#branches.focus(step);
  }

  focusEdit(): void {
    focusAnyway(part(this.root, 'edit'));
  }

  release(): void {}

  #setEditing(editing: boolean): void {
    part(this.root, 'editor').hidden = !editing;
    part(this.root, 'said').hidden = editing;
    if (editing) {
      this.#input.value = this.turn.text;
      this.#input.focus();
    } else this.focusEdit();
  }
}

export class ReplyView implements TurnView {
  readonly root = cloneTemplate('reply-turn');
  readonly #words: ReplyText;
  readonly #thoughts: StreamText;
  readonly #branches: BranchButtons;
  readonly #calls: HTMLElement[] = [];

  constructor(hooks: TurnHooks & { onRegenerate(): void }) {
    this.#words = new ReplyText(part(this.root, 'text'), hooks.onGrow);
    this.#thoughts = new StreamText(part(this.root, 'thoughts'), hooks.onGrow);
    this.#branches = new BranchButtons(this.root, hooks.onBranch);
    onPress(part(this.root, 'regenerate'), hooks.onRegenerate);
    onPress(part(this.root, 'copy'), () => void this.#copy(hooks.onCopied));
  }

  /** Empties the turn and waits for a reply; used again when a broken one is made anew. */
  start(): void {
    this.#words.clear();
    this.#thoughts.clear();
    this.#calls.length = 0;
    part(this.root, 'calls').replaceChildren();
    part(this.root, 'thinking').hidden = true;
    this.root.dataset.state = 'waiting';
    this.#note('');
    this.#setActions(false);
  }

  /** Goes on where the text is. */
  resume(): void {
    this.#words.reopen();
    this.root.dataset.state = 'streaming';
    this.#note('');
    this.#setActions(false);
  }

  /** A reply of an earlier page, or of another branch. */
  show({ text, thoughts = '', calls = [], end = 'stop' }: Turn): void {
    if (thoughts) this.think(thoughts);
    for (const call of calls) this.call(call);
    this.#words.append(text);
    this.#thoughts.flush();
    this.#words.end({ now: false });
    const begun = text !== '' || thoughts !== '' || calls.length > 0;
    if (end === 'cut-off' && !begun) this.#finish('queued', 'Waiting for the model');
    else this.#finish(end, describeEnd(end, undefined, undefined));
  }

  append(text: string): void {
    this.root.dataset.state = 'streaming';
    this.#words.append(text);
  }

  /** What the model thinks before it answers is shown folded, and is no part of the reply. */
  think(text: string): void {
    part(this.root, 'thinking').hidden = false;
    this.root.dataset.state = 'streaming';
    this.#thoughts.append(text);
  }

  /** The whole call so far; the same object again as its arguments grow. */
  call(call: Call, index = this.#calls.length): void {
    this.root.dataset.state = 'streaming';
    this.#calls[index] ??= this.#addCall();
    const view = this.#calls[index];
    part(view, 'name').textContent = call.name;
    part(view, 'arguments').textContent = call.arguments;
  }

  end(end: ReplyEnd, timings: Timings | undefined, usage: Usage | undefined): void {
    this.#words.end();
    this.#thoughts.flush();
    this.#finish(end, describeEnd(end, timings, usage));
  }

  setFree(free: boolean): void {
    setUnavailable(part(this.root, 'regenerate'), !free);
    this.#branches.setFree(free);
  }

  showPlace(place: Place): void {
    this.#branches.showPlace(place);
  }

  focusBranch(step: -1 | 1): void {
    this.#branches.focus(step);
  }

  focusRegenerate(): void {
    focusAnyway(part(this.root, 'regenerate'));
  }

  release(): void {
    this.#words.release();
  }

  #addCall(): HTMLElement {
    const view = cloneTemplate('tool-call');
    part(this.root, 'calls').append(view);
    return view;
  }

  #finish(end: ReplyEnd | 'queued', note: string): void {
    this.root.dataset.state = end;
    this.#note(note);
    this.#setActions(true);
  }

  #note(text: string): void {
    part(this.root, 'note').textContent = text;
  }

  #setActions(available: boolean): void {
    setUnavailable(part(this.root, 'copy'), !available || this.#words.text === '');
    setUnavailable(part(this.root, 'regenerate'), !available);
  }

  async #copy(onCopied: (copied: boolean) => void): Promise<void> {
    const copied = await copyText(this.#words.text);
    onCopied(copied);
    if (copied) flash(part(this.root, 'copy'));
  }
}

function describeEnd(end: ReplyEnd, timings: Timings | undefined, usage: Usage | undefined): string {
  if (end === 'failed') return 'This reply broke off';
  if (end === 'cut-off') return 'The page closed here; the reply goes on once the model is ready';
  const tokens = timings
    ? `${formatCount(timings.decodeTokens)} tokens at ${formatRate(timings.decodeTokens, timings.decodeMs)}`
    : '';
  const reason = { stop: '', length: 'cut at the token limit', stopped: 'stopped by you' }[end];
  return [tokens, reason, describePrompt(usage)].filter(Boolean).join(' · ');
}

/** How much of the conversation had to be read. Nothing is said of its first message, which is all new. */
function describePrompt(usage: Usage | undefined): string {
  const known = usage?.prompt_tokens_details?.cached_tokens ?? 0;
  return usage && known > 0
    ? `${formatCount(usage.prompt_tokens - known)} of ${formatCount(usage.prompt_tokens)} prompt tokens were new`
    : '';
}
