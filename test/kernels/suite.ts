/** Every kernel against its reference, as data: test/kernels/kernels.test.ts runs them in Node, a page in a browser. */
import { advanceCases } from './cases/advance';
import { attentionCases } from './cases/attention';
import { conv1dSiluCases } from './cases/conv1d_silu';
import { deltaCases } from './cases/delta';
import { embedCases } from './cases/embed';
import { gatedRmsNormCases } from './cases/gated_rms_norm';
import { gemmCases } from './cases/gemm';
import { gemmFewIntCases } from './cases/gemm_few_int';
import { gemvCases } from './cases/gemv';
import { gemvIntCases } from './cases/gemv_int';
import { interleavePairsCases } from './cases/interleave_pairs';
import { moeCases } from './cases/moe';
import { qkNormRopeCases } from './cases/qk_norm_rope';
import { rmsNormCases } from './cases/rms_norm';
import { sampleCases } from './cases/sample';
import { swigluCases } from './cases/swiglu';
import { unitsCases } from './cases/units';
import type { KernelCase } from './harness';

export type { KernelCase, Outcome } from './harness';

export const kernelCases: KernelCase[] = [
  ...embedCases,
  ...rmsNormCases,
  ...gemvCases,
  ...gemvIntCases,
  ...gemmCases,
  ...gemmFewIntCases,
  ...qkNormRopeCases,
  ...attentionCases,
  ...conv1dSiluCases,
  ...deltaCases,
  ...gatedRmsNormCases,
  ...swigluCases,
  ...unitsCases,
  ...moeCases,
  ...advanceCases,
  ...interleavePairsCases,
  ...sampleCases,
];
