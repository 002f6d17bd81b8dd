/**
 * A conversation is on the page of one tab at a time: each tab writes all of it from its own copy, so two would overwrite each other. Held as
 * long as the page lives, or until it is let go.
 */

/** A page that still writes what it lets go of needs a moment. */
const WAIT_MS = 500;
/** The page that this one takes the place of may need far longer to be gone, on a machine that is busy. */
const OWN_WAIT_MS = 10_000;

export class TabHold {
  /** False where another tab has it. */
  readonly granted: Promise<boolean>;
  #letGo!: () => void;

  /** `own`: this tab had it before the page was loaded anew, so whoever has it is probably on the way out. */
  constructor(
    readonly id: string,
    { own = false } = {},
  ) {
    const released = new Promise<void>((resolve) => {
      this.#letGo = resolve;
    });
    this.granted = holdUntil(released, `sluice/chat/${id}`, own ? OWN_WAIT_MS : WAIT_MS);
  }

  release(): void {
    this.#letGo();
  }
}

function holdUntil(released: Promise<void>, name: string, waitMs: number): Promise<boolean> {
  if (!navigator.locks) return Promise.resolve(true); // no secure context: tabs cannot ask each other
  return new Promise((resolve, reject) => {
    const hold = () => {
      resolve(true);
      return released;
    };
    navigator.locks.request(name, { signal: AbortSignal.timeout(waitMs) }, hold).catch((error: unknown) => {
      if (error instanceof DOMException) resolve(error.name !== 'TimeoutError');
      else reject(error);
    });
  });
}
