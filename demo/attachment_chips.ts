/** Attached files as chips: those of a message that is being written can be taken off again. Names enter as text nodes. */
import { type Attachment, MOST_ATTACHMENTS, readAttachment } from './attachments';
import { cloneTemplate, hide, onPress, part } from './dom';
import { formatBytes } from './format';
import type { Parsed } from './model_choice';

/** `onRemove`: with a button for it. */
export function chipOf({ name, text }: Attachment, onRemove?: () => void): HTMLElement {
  const chip = cloneTemplate('file-chip');
  part(chip, 'name').textContent = name;
  part(chip, 'size').textContent = formatBytes(new TextEncoder().encode(text).byteLength);
  const remove = part(chip, 'remove');
  if (!onRemove) remove.remove();
  else {
    remove.setAttribute('aria-label', `Take off: ${name}`);
    onPress(remove, onRemove);
  }
  return chip;
}

/** Files of the message that is being written. */
export class AttachmentTray {
  #files: Attachment[] = [];

  constructor(
    private readonly list: HTMLElement,
    private readonly heir: HTMLElement,
    private readonly hooks: { onChange(): void; say(text: string): void },
  ) {}

  get files(): readonly Attachment[] {
    return this.#files;
  }

  async add(files: readonly File[]): Promise<void> {
    const problems = new Set<string>();
    for (const file of files) {
      const problem = this.#refusal() ?? this.#take(await readAttachment(file));
      if (problem) problems.add(problem);
    }
    this.#show();
    if (problems.size > 0) this.hooks.say([...problems].join(' '));
  }

  take(): Attachment[] {
    const files = this.#files;
    this.#files = [];
    this.#show();
    return files;
  }

  /** In front of those that have come since; there may be too many then, and none is lost. */
  putBack(files: readonly Attachment[]): void {
    this.#files = [...files, ...this.#files];
    this.#show();
  }

  #refusal(): string | undefined {
    return this.#files.length < MOST_ATTACHMENTS ? undefined : `A message takes ${MOST_ATTACHMENTS} files.`;
  }

  /** What is wrong with it, if anything. Others may have come in while it was read. */
  #take(read: Parsed<Attachment>): string | undefined {
    if ('message' in read) return read.message;
    const refusal = this.#refusal();
    if (!refusal) this.#files = [...this.#files, read.value];
    return refusal;
  }

  #remove(file: Attachment, chip: HTMLElement): void {
    this.#files = this.#files.filter((each) => each !== file);
    hide(chip, this.heir);
    this.#show();
  }

  #show(): void {
    this.list.replaceChildren(
      ...this.#files.map((file) => {
        const chip = chipOf(file, () => this.#remove(file, chip));
        return chip;
      }),
    );
    this.list.hidden = this.#files.length === 0;
    this.hooks.onChange();
  }
}
