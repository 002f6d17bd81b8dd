/** What is kept of conversations, and which one is on the page: opens, renames, deletes, exports, imports, and keeps nothing of temporary ones. */
import type { Engine } from '../src/api';
import type { Chat } from './chat';
import type { Conversation, Turn } from './conversation';
import { CheckError, exportText, importText, MOST_IMPORT_BYTES } from './conversation_check';
import { ConversationPanel } from './conversation_panel';
import { ConversationStore } from './conversation_store';
import { saveText } from './dom';
import { formatBytes } from './format';
import { loadMarkdown } from './reply_text';
import { SavedStates } from './saved_states';
import { loadOpenId, saveOpenId } from './settings';
import { TabHold } from './tab_hold';

const ELSEWHERE = 'This conversation is open in another tab.';

export type ConversationHooks = {
  chat(): Chat;
  /** Another conversation, or a new one, is on the page. */
  onSwitch(temporary: boolean): void;
  say(text: string): void;
  onEraseAll(): void;
};

export class Conversations {
  readonly #store = new ConversationStore();
  readonly states = new SavedStates();
  readonly #panel: ConversationPanel;
  #temporary = false;
  /** Counts what was chosen, so that what is read late does not take the place of what was chosen since. */
  #chosen = 0;
  /** Of the conversation on the page, once it is kept. */
  #hold: TabHold | undefined;
  /** Of conversations that this tab let go of: when the last of them is written. */
  readonly #leaving = new Map<string, Promise<void>>();

  constructor(private readonly hooks: ConversationHooks) {
    this.#panel = new ConversationPanel({
      list: () => this.#store.list(),
      openId: () => (this.#temporary ? undefined : hooks.chat().conversation.id),
      onOpen: (id) => void this.open(id),
      onRename: (id, title) => void this.#rename(id, title),
      onExport: (id) => void this.#export(id),
      onDelete: (id) => void this.#delete(id),
      onImport: (file) => void this.#import(file),
      onEraseAll: hooks.onEraseAll,
      onTemporary: () => this.startNew(!this.#temporary),
    });
  }

  /** What an earlier page had open. Nothing where another tab has it now. */
  async bringBack(): Promise<void> {
    this.#panel.refresh();
    const open = loadOpenId();
    // A visitor may have written in the meantime.
    if (open) await this.#open(open.id, { own: open.own, stillWanted: () => this.hooks.chat().empty });
  }

  /** A reply that runs is stopped, and kept as far as it came. */
  async open(id: string): Promise<void> {
    const chat = this.hooks.chat();
    if (id === chat.conversation.id && !chat.empty) this.#chosen++;
    else if (!(await this.#open(id))) return this.#panel.showError(ELSEWHERE);
    this.#panel.close();
  }

  /** False where another tab has it. */
  async #open(id: string, { own = false, stillWanted = (): boolean => true } = {}): Promise<boolean> {
    const choice = ++this.#chosen;
    await this.#leaving.get(id);
    const hold = new TabHold(id, { own });
    const granted = await hold.granted;
    const [conversation] = await Promise.all([granted ? this.#store.load(id) : undefined, loadMarkdown()]);
    const chosen = choice === this.#chosen;
    if (chosen && conversation && stillWanted()) this.#switch(() => this.hooks.chat().open(conversation), false, hold);
    else {
      hold.release();
      this.#panel.refresh(); // it may have been deleted elsewhere
    }
    return granted || !chosen;
  }

  startNew(temporary = false): void {
    this.#switch(() => this.hooks.chat().clear(), temporary);
  }

  /** The only message of the conversation on the page was taken back: nothing of it stays. */
  withdraw(): void {
    const { id } = this.hooks.chat().conversation;
    this.startNew(this.#temporary);
    void this.#store.delete(id).then(() => this.#panel.refresh());
  }

  /** The chat's conversation has changed. */
  changed(conversation: Conversation): void {
    if (this.#temporary) return;
    saveOpenId(conversation.id);
    this.#hold ??= new TabHold(conversation.id); // it is new, so nobody else has it
    this.#store.keep(conversation);
    this.#panel.refresh();
  }

  words(id: string, index: number, turn: Turn): void {
    if (!this.#temporary) this.#store.keepReply(id, () => ({ index, turn }));
  }

  replied(engine: Engine, id: string): void {
    this.states.replied(engine, id, !this.#temporary);
  }

  /** Nothing is written any more. */
  async close(): Promise<void> {
    await Promise.all([this.#store.close(), this.states.close()]);
    this.#panel.refresh();
  }

  /** `hold`: of the conversation that is opened, if it has been kept. */
  #switch(open: () => void, temporary: boolean, hold?: TabHold): void {
    this.#chosen++;
    const saved = this.states.saveNow();
    open();
    if (this.#hold) this.#letGo(this.#hold, saved);
    this.#hold = hold;
    this.#temporary = temporary;
    this.#panel.showTemporary(temporary);
    const { conversation, empty } = this.hooks.chat();
    saveOpenId(temporary || empty ? undefined : conversation.id);
    this.#panel.refresh();
    this.hooks.onSwitch(temporary);
  }

  /** Another tab may open it once all of it is written; a state of a large model takes longer than anybody waits for a tab. */
  #letGo(hold: TabHold, saved: Promise<void>): void {
    const left = Promise.all([this.#store.settled(), saved]).then(() => hold.release());
    this.#leaving.set(hold.id, left);
  }

  async #rename(id: string, title: string): Promise<void> {
    const { conversation } = this.hooks.chat();
    if (id === conversation.id) this.#entitle(conversation, title);
    else
      await this.#alone(id, async () => {
        const kept = await this.#store.load(id);
        if (kept) this.#entitle(kept, title);
        await this.#store.settled();
      });
  }

  #entitle(conversation: Conversation, title: string): void {
    conversation.title = title;
    this.#store.keep(conversation);
    this.#panel.refresh();
    this.hooks.say('Renamed');
  }

  async #delete(id: string): Promise<void> {
    if (id === this.hooks.chat().conversation.id) this.startNew();
    await this.#alone(id, async () => {
      await this.#store.delete(id);
      await this.states.delete(id);
      this.hooks.say('The conversation is deleted');
    });
  }

  /** Nothing is done to a conversation that another tab would write again. */
  async #alone(id: string, change: () => Promise<void>): Promise<void> {
    this.#panel.showError('');
    await this.#leaving.get(id);
    const hold = new TabHold(id);
    if (await hold.granted) await change();
    else this.#panel.showError(ELSEWHERE);
    hold.release();
    this.#panel.refresh();
  }

  /** All of them where no id is given. */
  async #export(id: string | undefined): Promise<void> {
    const found = id ? [await this.#store.load(id)] : await this.#store.all();
    const conversations = found.filter((each) => each !== undefined);
    if (conversations.length === 0) return this.hooks.say('There is nothing to export');
    saveText(`sluice-conversations-${new Date().toISOString().slice(0, 10)}.json`, exportText(conversations));
    this.hooks.say(conversations.length === 1 ? 'Exported' : `${conversations.length} conversations exported`);
  }

  /** They come in beside what is there, whatever ids they have. */
  async #import(file: File): Promise<void> {
    try {
      if (file.size > MOST_IMPORT_BYTES)
        throw new CheckError(`The file has ${formatBytes(file.size)}; at most ${formatBytes(MOST_IMPORT_BYTES)} are read.`);
      const imported = importText(await file.text());
      for (const conversation of imported) this.#store.keep({ ...ended(conversation), id: crypto.randomUUID() });
      this.#panel.refresh();
      this.hooks.say(`${imported.length} ${imported.length === 1 ? 'conversation' : 'conversations'} imported`);
    } catch (error) {
      if (!(error instanceof CheckError || error instanceof DOMException)) throw error;
      this.#panel.showError(`${error.message} Nothing was imported.`);
    }
  }
}

/** A reply of somebody else's page is not gone on with by itself. */
function ended(conversation: Conversation): Conversation {
  const turns = conversation.turns.map((turn): Turn => (turn.end === 'cut-off' ? { ...turn, end: 'stopped' } : turn));
  return { ...conversation, turns };
}
