/**
 * A conversation is on the page of one tab at a time: each tab writes all of it from its own copy, so two would overwrite each other. Held as
 * long as the page lives, or until it is let go.
 */

/** A page that is being loaded anew, or that still writes what it lets go of, needs a moment. */
const WAIT_MS = 500;

export class TabHold {
  /** False where another tab has it. */
  readonly granted: Promise<boolean>;
  #letGo!: () => void;

  constructor(readonly id: string) {
    const released = new Promise<void>((resolve) => {
      this.#letGo = resolve;
    });
    this.granted = holdUntil(released, `sluice/chat/${id}`);
  }

  release(): void {
    this.#letGo();
  }
}

function holdUntil(released: Promise<void>, name: string): Promise<boolean> {
  if (!navigator.locks) return Promise.resolve(true); // no secure context: tabs cannot ask each other
  return new Promise((resolve, reject) => {
    const hold = () => {
      resolve(true);
      return released;
    };
    navigator.locks.request(name, { signal: AbortSignal.timeout(WAIT_MS) }, hold).catch((error: unknown) => {
      if (error instanceof DOMException) resolve(error.name !== 'TimeoutError');
      else reject(error);
    });
  });
}
