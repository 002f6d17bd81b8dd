/** Whether something that was stored, or comes from a file, is a conversation. It may be from anywhere, so every field is looked at. Pure. */
import { type Attachment, MOST_ATTACHMENT_BYTES, MOST_ATTACHMENTS, shortName } from './attachments';
import type { Call, Conversation, ReplyEnd, Turn } from './conversation';

/** Bytes of a file that may be imported. */
export const MOST_IMPORT_BYTES = 64e6;
const MOST_CONVERSATIONS = 10_000;
const MOST_TURNS = 10_000;
const MOST_CHARACTERS = 4_000_000;
const MOST_CALLS = 1000;
const ENDS: readonly ReplyEnd[] = ['stop', 'length', 'stopped', 'failed', 'cut-off'];

/** What is wrong with it, by place: 'conversations[2].turns[0].role is …'. */
export class CheckError extends Error {}

const FORMAT = 'sluice.conversations';

export function exportText(conversations: readonly Conversation[]): string {
  return JSON.stringify({ format: FORMAT, version: 1, conversations }, null, 1);
}

/** @throws CheckError saying what the file is not. */
export function importText(text: string): Conversation[] {
  const { format, version, conversations } = object(parse(text), 'the file');
  if (format !== FORMAT) throw new CheckError('This is no file of conversations that this page has exported.');
  if (version !== 1) throw new CheckError('The file is from a newer version of this page. Reload the page and try again.');
  return list(conversations, 'conversations', MOST_CONVERSATIONS).map((entry, i) =>
    conversationFrom(entry, `conversations[${i}]`),
  );
}

/** Fields that are not known are left out. @throws CheckError */
export function conversationFrom(value: unknown, place = 'conversation'): Conversation {
  const { id, title, createdAt, updatedAt, turns, leaf } = object(value, place);
  const checked = list(turns, `${place}.turns`, MOST_TURNS).map((turn, i) => turnFrom(turn, i, `${place}.turns[${i}]`));
  checked.forEach((turn, i) => {
    if (turn.parent < 0 ? turn.role !== 'user' : checked[turn.parent]!.role === turn.role)
      throw new CheckError(`${place}.turns[${i}] does not answer the turn before it.`);
  });
  return {
    id: words(id, `${place}.id`, 100),
    title: shortName(words(title, `${place}.title`, 500)),
    createdAt: number(createdAt, `${place}.createdAt`, 0, 8.64e15),
    updatedAt: number(updatedAt, `${place}.updatedAt`, 0, 8.64e15),
    turns: checked,
    leaf: number(leaf, `${place}.leaf`, checked.length === 0 ? -1 : 0, checked.length - 1),
  };
}

/** @throws CheckError */
export function turnFrom(value: unknown, index: number, place: string): Turn {
  const { parent, role, text, attachments, thoughts, calls, end } = object(value, place);
  if (role !== 'user' && role !== 'assistant') throw new CheckError(`${place}.role is neither user nor assistant.`);
  const turn: Turn = { parent: number(parent, `${place}.parent`, -1, index - 1), role, text: words(text, `${place}.text`) };
  if (attachments !== undefined)
    turn.attachments = list(attachments, `${place}.attachments`, MOST_ATTACHMENTS).map((each, i) =>
      attachmentFrom(each, `${place}.attachments[${i}]`),
    );
  if (thoughts !== undefined) turn.thoughts = words(thoughts, `${place}.thoughts`);
  if (calls !== undefined)
    turn.calls = list(calls, `${place}.calls`, MOST_CALLS).map((each, i) => callFrom(each, `${place}.calls[${i}]`));
  if (end !== undefined) {
    if (!ENDS.includes(end as ReplyEnd)) throw new CheckError(`${place}.end is not a way in which a reply ends.`);
    turn.end = end as ReplyEnd;
  }
  return turn;
}

function attachmentFrom(value: unknown, place: string): Attachment {
  const { name, text } = object(value, place);
  return { name: shortName(words(name, `${place}.name`, 500)), text: words(text, `${place}.text`, MOST_ATTACHMENT_BYTES) };
}

function callFrom(value: unknown, place: string): Call {
  const { name, arguments: given } = object(value, place);
  return { name: words(name, `${place}.name`, 500), arguments: words(given, `${place}.arguments`) };
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    if (error instanceof SyntaxError) throw new CheckError('The file is not JSON.');
    throw error;
  }
}

function object(value: unknown, place: string): Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new CheckError(`${place} is not an object.`);
  return value as Record<string, unknown>;
}

function list(value: unknown, place: string, most: number): unknown[] {
  if (!Array.isArray(value)) throw new CheckError(`${place} is not a list.`);
  if (value.length > most) throw new CheckError(`${place} has ${value.length} entries; at most ${most} are read.`);
  return value;
}

function words(value: unknown, place: string, most = MOST_CHARACTERS): string {
  if (typeof value !== 'string') throw new CheckError(`${place} is not text.`);
  if (value.length > most) throw new CheckError(`${place} has ${value.length} characters; at most ${most} are read.`);
  return value;
}

function number(value: unknown, place: string, least: number, most: number): number {
  if (!Number.isSafeInteger(value) || (value as number) < least || (value as number) > most)
    throw new CheckError(`${place} is not a whole number from ${least} to ${most}.`);
  return value as number;
}
