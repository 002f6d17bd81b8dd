/**
 * A request under way, as far as it must be known to go on elsewhere: on another device after this one was lost. What was read is read
 * again, as many random numbers are skipped, and nothing that was delivered is delivered twice.
 */
import type { TokenLogprob } from '../protocol/chat';
import type { GenerateEvent } from '../protocol/engine';

/** What a choice counts for in `usage`. */
export type ChoiceCounts = { tokens: number; reasoningTokens: number; truncatedMessages: number };

/** What was delivered of a choice: characters of its events (a tool call's beginning is one more), and log probabilities. */
export type Shown = { characters: number; logprobs: number };

export type Journal = {
  /** Chosen with the first token where the request names none. */
  seed: number | undefined;
  /** Choices that have ended. */
  ended: ChoiceCounts[];
  /** Tokens of the choice under way that are certain, in the pieces that its output got; grows while it runs. */
  pieces: (readonly number[])[];
  /** Random numbers that those tokens took. */
  draws: number;
  /** Theirs, where the request asks for some. */
  logprobs: TokenLogprob[];
  shown: Shown;
  /** The request was ended while no device was there. */
  interrupted: boolean;
};

export function newJournal(): Journal {
  return {
    seed: undefined,
    ended: [],
    pieces: [],
    draws: 0,
    logprobs: [],
    shown: { characters: 0, logprobs: 0 },
    interrupted: false,
  };
}

/** A copy that an attempt may go on writing in. */
export function copyJournal(journal: Journal): Journal {
  const { ended, pieces, logprobs, shown } = journal;
  return { ...journal, ended: [...ended], pieces: [...pieces], logprobs: [...logprobs], shown: { ...shown } };
}

/** The next choice begins. */
export function endChoice(journal: Journal, counts: ChoiceCounts): void {
  journal.ended.push(counts);
  Object.assign(journal, { pieces: [], draws: 0, logprobs: [], shown: { characters: 0, logprobs: 0 } });
}

/** Counts an event as delivered. */
export function countShown(shown: Shown, event: GenerateEvent): void {
  if (event.type === 'choice_end') Object.assign(shown, { characters: 0, logprobs: 0 });
  if (event.type !== 'text' && event.type !== 'reasoning' && event.type !== 'tool_call') return;
  if (event.type === 'tool_call') shown.characters += event.arguments.length + (event.id === undefined ? 0 : 1);
  else shown.characters += event.text.length;
  if ('logprobs' in event) shown.logprobs += event.logprobs?.length ?? 0;
}
