/** Keeps the newest text in view until the reader scrolls up; then offers a way back. */
import { hide } from './dom';

/** Closer to the end than this counts as being there: fractional sizes and zoom never give an exact zero. */
const END_PX = 40;

export class ScrollFollow {
  #active = false;
  #following = true;
  #lastTop = 0;

  constructor(
    private readonly scroller: HTMLElement,
    private readonly jump: HTMLElement,
    private readonly heir: HTMLElement,
  ) {
    scroller.addEventListener('scroll', () => this.#onScroll(), { passive: true });
    new ResizeObserver(() => this.contentChanged()).observe(scroller);
    jump.addEventListener('click', () => this.toEnd());
  }

  /** Call after the content grew or shrank. */
  contentChanged(): void {
    if (!this.#active) return;
    if (this.#following) this.#scrollToEnd();
    else this.#showJump();
  }

  /** Back to the empty page, which is read from its top. */
  reset(): void {
    this.#active = false;
    this.scroller.scrollTop = 0;
    hide(this.jump, this.heir);
  }

  toEnd(): void {
    this.#active = true;
    this.#following = true;
    this.#scrollToEnd();
    hide(this.jump, this.heir);
  }

  #scrollToEnd(): void {
    this.scroller.scrollTop = this.scroller.scrollHeight;
    this.#lastTop = this.scroller.scrollTop;
  }

  /** A scroll event may arrive after more text did, so only a move upwards means that the reader left the end. */
  #onScroll(): void {
    if (!this.#active) return;
    const { scrollTop } = this.scroller;
    if (this.#isAtEnd()) this.#following = true;
    else if (scrollTop < this.#lastTop) this.#following = false;
    this.#lastTop = scrollTop;
    this.#showJump();
  }

  #isAtEnd(): boolean {
    const { scrollHeight, scrollTop, clientHeight } = this.scroller;
    return scrollHeight - scrollTop - clientHeight <= END_PX;
  }

  #showJump(): void {
    if (this.#following || this.#isAtEnd()) hide(this.jump, this.heir);
    else this.jump.hidden = false;
  }
}
