/**
 * Text that grows as a reply streams in. Arriving pieces are gathered and enter the page once per animation frame, as text
 * nodes; each line is a paragraph of its own, so the browser lays out only the last one anew.
 */
/** A longer line becomes several paragraphs: laying out one of a megabyte takes long. */
const MOST_CHARACTERS = 4000;

export class StreamText {
  #pending = '';
  #frame = 0;
  #line: Text | undefined;
  #blankLines = 0;

  constructor(
    private readonly container: HTMLElement,
    private readonly onGrow: () => void,
  ) {}

  append(text: string): void {
    this.#pending += text;
    if (this.#frame === 0) this.#frame = requestAnimationFrame(() => this.flush());
  }

  /** Shows what is pending now: at the end of a reply, and in a hidden tab, where no frames come. */
  flush(): void {
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
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
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
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
