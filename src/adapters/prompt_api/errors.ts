import { EngineError, type ErrorCode } from '../../errors';

const names: { [code in ErrorCode]?: string } = {
  'context-length': 'QuotaExceededError',
  budget: 'QuotaExceededError',
  'unsupported-content': 'NotSupportedError',
  'unsupported-schema': 'NotSupportedError',
  unsupported: 'NotSupportedError',
  unloaded: 'InvalidStateError',
  storage: 'NetworkError',
  'not-found': 'NetworkError',
};

/** Code for the Prompt API looks at the names of DOMExceptions. The message is ours, and says what to do. */
export function promptApiError(error: unknown): unknown {
  if (!(error instanceof EngineError)) return error;
  if (error.code === 'invalid-request') return new TypeError(error.message, { cause: error });
  return new DOMException(error.message, names[error.code] ?? 'OperationError');
}
