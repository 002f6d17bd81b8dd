/** An error in words, with the way out. Pure. */
import { EngineError, type ErrorCode, type PlanReport, type Pressure } from '../src/api';
import { errorText, formatBytes } from './format';
import { networkCost } from './plan_view';

/** `retry` loads again after a failed load, and answers again after a failed reply. */
export type Action =
  | 'retry'
  | 'reload-model'
  | 'bundled'
  | 'picker'
  | 'settings'
  | 'new-chat'
  | 'reload-page'
  | 'update-page'
  | 'memory'
  | 'storage'
  | 'smallest-budget'
  | 'shorter-context'
  | 'lower-budget'
  | 'reload-continue'
  | 'dismiss'
  | 'dismiss-update';
/**
 * `fix`: what 'smallest-budget', 'shorter-context' and 'lower-budget' would set. `labels`: of actions that say more here than ACTION_LABELS.
 */
export type Problem = { title: string; text: string; actions: [Action, Action?]; fix?: Fix; labels?: Labels };
export type Labels = Partial<Record<Action, string>>;
export type Fix = { gpuBudget?: number; contextTokens?: number };
export type Where = 'load' | 'reply';
export type Surroundings = { secureContext: boolean; webGpu: boolean; online: boolean; bundled: boolean };

type Advice = { title: string; advice: string; actions: [Action, Action?]; fix?: Fix };

export function describeProblem(error: unknown, where: Where, around: Surroundings): Problem {
  const code = error instanceof EngineError ? error.code : 'internal';
  const message = errorText(error);
  const special =
    code === 'budget' && where === 'load' ? refusalAdvice(message) : code === 'storage' ? diskAdvice(message) : undefined;
  const { title, advice, ...rest } = special ?? (where === 'load' ? loadAdvice(code, around) : replyAdvice(code));
  return { title, text: [message, advice].filter(Boolean).join('\n'), ...rest };
}

const KEPT = 'The conversation is kept.';

/** `replying`: a reply is under way, which is the default. `leastBytes`: the smallest budget that the model takes, below which the engine does not go. */
export type RecoverySurroundings = { replying?: boolean; leastBytes?: number | undefined };

/** A lost device that the engine brings back by itself: something to know, nothing to do. Undefined where there is no more to say. */
export function describeRecovery(
  { recovery, gpuBudgetBytes }: Pressure,
  { replying = true, leastBytes }: RecoverySurroundings = {},
): Problem | undefined {
  const part = gpuBudgetBytes === leastBytes ? 'the least that the model takes' : 'half of before';
  const less = gpuBudgetBytes === undefined ? undefined : `${formatBytes(gpuBudgetBytes)} of GPU memory, ${part}`;
  if (recovery === 'started') {
    const why = less && `That is the second time within five minutes, so the budget is cut to ${less}.`;
    const then = replying ? ', and the reply goes on from here' : '';
    const text = [why, `The model is being loaded again${then}. ${KEPT}`].filter(Boolean).join('\n');
    return { title: 'The connection to the GPU was lost', text, actions: ['memory'] };
  }
  if (!less) return undefined;
  const text = `It was lost twice within five minutes, so the model now runs in ${less}.`;
  return { title: 'The GPU is back', text, actions: ['memory', 'dismiss'] };
}

/** What an engine says when memory or files are being taken from it. */
export function describePressure({ reason, message, suggestedBudgetBytes, recovery }: Pressure): Problem {
  if (recovery === 'stopped') {
    const text = `It was lost three times within five minutes, which mostly means that memory runs out.\nA smaller model or a shorter context takes less. ${KEPT}`;
    const labels = { picker: 'Choose a smaller model' };
    return { title: 'The GPU was lost again and again', text, actions: ['picker', 'reload-continue'], labels };
  }
  const title = {
    'out-of-memory': 'The GPU ran out of memory',
    'device-lost': 'The connection to the GPU was lost',
    storage: 'The model’s files could not be read',
  }[reason];
  const text = `${message}\n${KEPT}`;
  if (suggestedBudgetBytes === undefined) return { title, text, actions: ['reload-continue', 'memory'] };
  return { title, text, actions: ['lower-budget', 'memory'], fix: { gpuBudget: suggestedBudgetBytes } };
}

/** Before the first message: answering will be paid for in bytes. Undefined where it is not. */
export function describeNetworkCost(plan: PlanReport): Problem | undefined {
  const text = networkCost(plan);
  return text ? { title: 'Every token comes over the network', text, actions: ['memory', 'dismiss'] } : undefined;
}

/** The planner's refusal names what would work; the page offers just that. */
function refusalAdvice(message: string): Advice {
  const gpuBudget = numberIn(message, /needs at least (\d+) bytes/);
  const contextTokens = numberIn(message, /context of (\d+) tokens would fit/i);
  const title = 'Not enough memory for this model';
  if (gpuBudget === undefined)
    return advise(title, 'A smaller context needs less, and so does a smaller model.', ['memory', 'picker']);
  const actions: [Action, Action?] = ['smallest-budget', contextTokens === undefined ? 'memory' : 'shorter-context'];
  return {
    ...advise(title, 'What does not fit streams for every token: slower, but it works.', actions),
    fix: { gpuBudget, contextTokens },
  };
}

function diskAdvice(message: string): Advice | undefined {
  if (!/share of it, is full|the browser grants/.test(message)) return undefined;
  return advise('The disk is full', 'Delete a stored model, or ask the browser for more room. What has arrived is kept.', [
    'storage',
    'retry',
  ]);
}

function numberIn(text: string, pattern: RegExp): number | undefined {
  const digits = pattern.exec(text)?.[1];
  return digits === undefined ? undefined : Number(digits);
}

const BROWSERS =
  'Sluice needs WebGPU: Chrome or Edge 121 and later, Safari 26 and later, or Firefox 141 and later. On Linux, WebGPU may have to be switched on in the browser first.';

const GPU_HELP =
  'If other WebGPU pages fail too, update the browser and the graphics driver, and switch hardware acceleration on.';

function loadAdvice(code: ErrorCode, { secureContext, webGpu, online, bundled }: Surroundings): Advice {
  const elsewhere: Action = bundled ? 'picker' : 'bundled';
  switch (code) {
    case 'unsupported':
      if (!secureContext) {
        return advise(
          'This page needs a secure address',
          'Browsers offer WebGPU on https pages and on localhost only. Open the page there.',
          ['reload-page'],
        );
      }
      return webGpu
        ? advise('This cannot run here', GPU_HELP, ['retry', elsewhere])
        : advise('This browser has no WebGPU', BROWSERS, ['reload-page']);
    case 'storage':
      return advise(
        online ? 'The model could not be read' : 'You are offline',
        online ? 'Check the connection and try again.' : 'Connect to the network, then try again.',
        ['retry', elsewhere],
      );
    case 'not-found':
      return advise('The model was not found', 'Check the id. A private model needs an access token.', [
        'picker',
        elsewhere === 'bundled' ? elsewhere : 'retry',
      ]);
    case 'format':
    case 'shape':
    case 'limit':
      return advise('This model cannot be used', 'Sluice reads Qwen3.5 checkpoints: BF16, F16, or MLX with 3 or 4 bits.', [
        'picker',
        elsewhere === 'bundled' ? elsewhere : 'retry',
      ]);
    case 'context-length':
    case 'invalid-request':
      return advise('A setting does not fit this model', 'Change or reset it in the settings.', ['settings', 'retry']);
    case 'device-lost':
      return deviceLost();
    default:
      return advise('The model could not be loaded', 'This looks like a fault in Sluice. Try again, or reload the page.', [
        'retry',
        'reload-page',
      ]);
  }
}

function replyAdvice(code: ErrorCode): Advice {
  switch (code) {
    case 'context-length':
      return advise('The conversation is too long', 'Start a new chat, or set a larger context size and reload the model.', [
        'new-chat',
        'settings',
      ]);
    case 'invalid-request':
      return advise('The model refused a setting', 'Change or reset it in the settings.', ['settings', 'retry']);
    case 'device-lost':
      return deviceLost();
    case 'unloaded':
      return advise('The model was unloaded', 'Load it again to go on.', ['reload-model', 'picker']);
    case 'budget':
      return advise('The GPU ran out of memory', 'Reload the model with a smaller GPU budget or context.', [
        'memory',
        'reload-model',
      ]);
    case 'non-finite':
      return advise(
        'The model lost its footing',
        'It produced values that are not numbers. Try again; if it happens twice, choose another model.',
        ['retry', 'picker'],
      );
    case 'limit':
    case 'format':
      return advise('The model’s own template failed', 'Start a new chat, or choose another model.', ['new-chat', 'picker']);
    default:
      return advise('The reply broke off', 'Try again, or reload the model.', ['retry', 'reload-model']);
  }
}

function deviceLost(): Advice {
  return advise(
    'The connection to the GPU was lost',
    'A driver reset, a sleeping computer or too little memory can cause this. The conversation is kept.',
    ['reload-model', 'picker'],
  );
}

function advise(title: string, advice: string, actions: [Action, Action?]): Advice {
  return { title, advice, actions };
}

export const ACTION_LABELS: Record<Action, string> = {
  retry: 'Try again',
  'reload-model': 'Reload the model',
  bundled: 'Use the story model',
  picker: 'Choose a model',
  settings: 'Open settings',
  'new-chat': 'New chat',
  'reload-page': 'Reload the page',
  'update-page': 'Update now',
  memory: 'Open the memory panel',
  storage: 'Open the storage panel',
  'smallest-budget': 'Use the smallest budget that works',
  'shorter-context': 'Use a shorter context',
  'lower-budget': 'Lower the budget and continue',
  'reload-continue': 'Reload the model and continue',
  dismiss: 'Go on',
  'dismiss-update': 'Go on',
};
