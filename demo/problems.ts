/** An error in words, with the way out. Pure. */
import { EngineError, type ErrorCode } from '../src/api';

/** `retry` loads again after a failed load, and answers again after a failed reply. */
export type Action = 'retry' | 'reload-model' | 'bundled' | 'picker' | 'settings' | 'new-chat' | 'reload-page';
export type Problem = { title: string; text: string; actions: [Action, Action?] };
export type Where = 'load' | 'reply';
export type Surroundings = { secureContext: boolean; webGpu: boolean; online: boolean; bundled: boolean };

type Advice = { title: string; advice: string; actions: [Action, Action?] };

export function describeProblem(error: unknown, where: Where, around: Surroundings): Problem {
  const code = error instanceof EngineError ? error.code : 'internal';
  const { title, advice, actions } = where === 'load' ? loadAdvice(code, around) : replyAdvice(code);
  return { title, text: [messageOf(error), advice].filter(Boolean).join('\n'), actions };
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

const BROWSERS =
  'Sluice needs WebGPU: Chrome or Edge 113 and later, Safari 26 and later, or Firefox 141 and later. On Linux, WebGPU may have to be switched on in the browser first.';

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
    case 'budget':
      return advise(
        'Not enough memory for this model',
        'A smaller context size in the settings needs less, and so does a smaller model.',
        ['settings', 'picker'],
      );
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
      return advise('The GPU ran out of memory', 'Reload the model with a smaller context size.', ['settings', 'reload-model']);
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
};
