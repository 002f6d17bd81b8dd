/** What runs a mixture of experts that may not all be there: loaded with the first such model, since most visitors never have one. */
export * as kernels from '../kernels/mixture';
export { MixtureDecodeRecorder } from '../model/mixture_recorder';
export { ExpertCache } from '../stream/expert_cache';
export { Mixtures } from './mixtures';
export { Speculation } from './speculation';
