/** Every kernel against its reference, as data: tests run them in Node and in browsers, and the doctor on a visitor's device. */
import { advanceCases } from './advance';
import { attentionCases } from './attention';
import { conv1dSiluCases } from './conv1d_silu';
import { deltaCases } from './delta';
import { deltaInputCases } from './delta_inputs';
import { embedCases } from './embed';
import { gatedRmsNormCases } from './gated_rms_norm';
import { gemmCases } from './gemm';
import { gemmFewCases } from './gemm_few';
import { gemvCases } from './gemv';
import { gemvUnitCases } from './gemv_units';
import type { KernelCase } from './harness';
import { interleavePairsCases } from './interleave_pairs';
import { moeCases } from './moe';
import { moeChoiceCases } from './moe_choice';
import { moeGroupedCases } from './moe_grouped';
import { normGemvCases } from './norm_gemv';
import { normHalvesCases } from './norm_halves';
import { qkNormRopeCases } from './qk_norm_rope';
import { rmsNormCases } from './rms_norm';
import { sampleCases } from './sample';
import { swigluCases } from './swiglu';
import { unitsCases } from './units';

export type { KernelCase, Outcome } from './harness';

export const kernelCases: KernelCase[] = [
  ...embedCases,
  ...rmsNormCases,
  ...gemvCases,
  ...gemvUnitCases,
  ...gemmCases,
  ...gemmFewCases,
  ...qkNormRopeCases,
  ...attentionCases,
  ...conv1dSiluCases,
  ...deltaInputCases,
  ...deltaCases,
  ...gatedRmsNormCases,
  ...swigluCases,
  ...unitsCases,
  ...normHalvesCases,
  ...moeChoiceCases,
  ...moeCases,
  ...moeGroupedCases,
  ...normGemvCases,
  ...advanceCases,
  ...interleavePairsCases,
  ...sampleCases,
];
