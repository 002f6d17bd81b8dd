/**
 * Text that grows as a reply streams in. Arriving pieces are gathered and enter the page once per draw, as text nodes; each line is a
 * paragraph of its own, so the browser lays out only the last one anew.
 */
import { cancelWork, requestWork, type Work } from './frame_work';

/** A longer line becomes several paragraphs: laying out one of a megabyte takes long. */
const MOST_CHARACTERS = 4000;

export class StreamText implements Work {
  #pending = '';
  #line: Text | undefined;
  #blankLines = 0;

  constructor(
    private readonly container: HTMLElement,
    private readonly onGrow: () => void,
  ) {}

  append(text: string): void {
    this.#pending += text;
    requestWork(this, { soon: !this.container.hasChildNodes() });
  }

  /** All of it is little work. */
  step(): boolean {
    return false;
  }

  draw(): void {
    this.flush();
  }

  /** Shows what is pending now, at the end of a reply. */
  flush(): void {
    cancelWork(this);
    if (this.#pending === '') return;
    const [rest, ...lines] = this.#pending.split('\n');
    this.#pending = '';
    this.#extend(rest!);
    for (const line of lines) {
      this.#endLine();
      this.#extend(line);
    }
    this.onGrow();
  }

  clear(): void {
    cancelWork(this);
    this.#pending = '';
    this.#line = undefined;
    this.#blankLines = 0;
    this.container.replaceChildren();
  }

  #extend(text: string): void {
    if (text === '') return;
    if (this.#line && this.#line.length + text.length > MOST_CHARACTERS) this.#line = undefined;
    if (this.#line) this.#line.appendData(text);
    else this.#startLine(text);
  }

  #startLine(text: string): void {
    const paragraph = document.createElement('p');
    if (this.#blankLines > 0) paragraph.className = 'spaced';
    this.#line = document.createTextNode(text);
    paragraph.append(this.#line);
    this.container.append(paragraph);
    this.#blankLines = 0;
  }

  #endLine(): void {
    if (!this.#line) this.#blankLines++;
    this.#line = undefined;
  }
}
