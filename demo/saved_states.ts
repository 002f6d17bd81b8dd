/**
 * The model's state of conversations, through `engine.sessions`: a conversation that is opened again goes on from it, so that its prompt is
 * not read again. The state is as large as the model makes it, so only that of the newest few conversations is kept.
 */
import { deleteSession, type Engine, EngineError } from '../src/api';

const MOST_KEPT = 5;
/** After a reply a visitor often writes the next message at once; the state is saved when they do not. */
const SAVE_AFTER_MS = 1500;

export class SavedStates {
  /** Whose conversation an engine has read last. */
  #held: { engine: Engine; id: string } | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #saving: Promise<void> | undefined;

  /**
   * Before a request of conversation `id`. Never rejects: without its state the prompt is read again, and that is all. A state that the
   * engine still holds is saved behind this reply, so that its first token does not wait for the disk.
   */
  async prepare(engine: Engine, id: string): Promise<void> {
    if (this.#held?.engine === engine && this.#held.id === id) return this.#putOff();
    await this.saveNow();
    this.#held = { engine, id };
    await orNothing(() => engine.sessions.restore(id));
  }

  /** After a reply. `keep` is false where nothing may be stored. */
  replied(engine: Engine, id: string, keep: boolean): void {
    this.#held = { engine, id };
    clearTimeout(this.#timer);
    this.#timer = keep ? setTimeout(() => void this.saveNow(), SAVE_AFTER_MS) : undefined;
  }

  /** What waits to be saved, if anything does: before the engine reads another conversation, or the page is loaded anew. */
  async saveNow(): Promise<void> {
    if (this.#timer !== undefined && this.#held) {
      this.#putOff();
      this.#saving = this.#save(this.#held);
    }
    await this.#saving;
  }

  /** Nothing of the conversation stays, whether a model is loaded or not. */
  async delete(id: string): Promise<void> {
    if (this.#held?.id === id) this.#putOff();
    await this.#saving;
    await orNothing(() => deleteSession(id));
  }

  /** Forgets what was about to be saved. */
  async close(): Promise<void> {
    this.#putOff();
    await this.#saving;
  }

  #putOff(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  async #save({ engine, id }: { engine: Engine; id: string }): Promise<void> {
    await orNothing(async () => {
      await engine.sessions.save(id);
      const kept = await engine.sessions.list();
      for (const old of kept.slice(MOST_KEPT)) await engine.sessions.delete(old.id);
    });
  }
}

/** There may be none, the disk may be full, the browser may keep nothing, the engine may be gone: nobody need hear of it. */
async function orNothing(call: () => Promise<unknown>): Promise<void> {
  try {
    await call();
  } catch (error) {
    if (!(error instanceof EngineError)) throw error;
  }
}
