import { EngineError } from '../errors';
import type { ModelRef } from '../protocol/engine';

/** URLs and FileLists cannot be cloned into a worker, and a relative URL means relative to the page. @throws EngineError 'invalid-request' */
export function cloneableRef(model: ModelRef): ModelRef {
  if (model instanceof URL) return model.href;
  if (typeof model === 'string' && /^(\.{0,2}\/|https?:)/i.test(model)) {
    if (!URL.canParse(model, location.href)) throw new EngineError('invalid-request', `'${model}' is not a URL.`);
    return new URL(model, location.href).href;
  }
  if (typeof FileList !== 'undefined' && model instanceof FileList) return [...model];
  return Array.isArray(model) ? [...model] : model;
}
