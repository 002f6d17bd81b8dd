/** Whether this device answers or a server, decided once, before the first request, by what the memory plan says. */
import { endpointAddress } from '../endpoint/address';
import { EngineError } from '../errors';
import type { ModelRef } from '../protocol/engine';
import { EngineClient } from './client';
import { endpointEngine } from './endpoint_engine';
import { engineOf } from './engine';
import { checkCallback } from './options';
import type { ChatEngine, EngineOptions, FallbackOptions, FallbackRequest, PlanOptions } from './types';
import { planOf } from './without_engine';

/** Slower than this nobody waits for a reply. */
const LEAST_TOKENS_PER_SECOND = 1;

type Verdict = { local: true } | ({ local: false } & Pick<FallbackRequest, 'reason' | 'message'>);

/** @throws EngineError where neither memory nor the device is the matter: a model that is not there is not there. AbortError. */
export async function judgeLocal(
  model: ModelRef,
  options: PlanOptions,
  least = LEAST_TOKENS_PER_SECOND,
  plan: typeof planOf = planOf,
): Promise<Verdict> {
  try {
    const { prediction } = await plan(model, options);
    const speed = prediction?.tokensPerSecond ?? Number.POSITIVE_INFINITY;
    if (speed >= least) return { local: true };
    const message = `This device would write ${speed.toPrecision(2)} tokens a second; ${least} are wanted.`;
    return { local: false, reason: 'slow', message };
  } catch (error) {
    return { local: false, ...refusalOf(error) };
  }
}

/** Without a fallback this device answers, or nobody. What is wrong with the options is said before anything starts. */
export async function openEngine(
  model: ModelRef,
  { prefer, fallback, onFallback, leastTokensPerSecond, ...options }: EngineOptions & Partial<FallbackOptions>,
): Promise<ChatEngine> {
  if (prefer !== 'local' && (prefer !== undefined || fallback !== undefined))
    throw new EngineError('invalid-request', "The option 'prefer' must be 'local' beside 'fallback'.");
  if (leastTokensPerSecond !== undefined && !(leastTokensPerSecond >= 0))
    throw new EngineError('invalid-request', "The option 'leastTokensPerSecond' must be a number from 0 on.");
  checkCallback('onFallback', onFallback);
  if (fallback !== undefined) {
    endpointAddress(fallback.url);
    const { onProgress: _, onPressure: __, ...planned } = options;
    const verdict = await judgeLocal(model, planned, leastTokensPerSecond);
    if (!verdict.local) return endpointEngine(fallback, verdict, { onFallback, signal: options.signal });
  }
  return engineOf(await EngineClient.start(model, options));
}

/** @throws the error itself where an endpoint is no answer to it */
function refusalOf(error: unknown): Pick<FallbackRequest, 'reason' | 'message'> {
  const { code, message } = error as EngineError;
  if (error instanceof EngineError && code === 'budget') return { reason: 'memory', message };
  if (error instanceof EngineError && code === 'unsupported') return { reason: 'unsupported', message };
  throw error;
}
