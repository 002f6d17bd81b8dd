/** Scores the reference vectors on this browser's adapter, with the variants that it would choose and, with `?gpu`, with those for GPUs. */
import { openGpu } from '../../src/gpu/device';
import { openModel } from '../../src/storage/model_ref';
import { type Errors, scoreVectors } from '../model/vectors';

export type ModelRow = { model: string; variant: string; prefill: Errors; decode: Errors };
export type ModelReport = { rows: ModelRow[]; subgroups: boolean; f16: boolean; finished: boolean; broken?: string };

declare global {
  interface Window {
    modelReport?: ModelReport;
  }
}

async function main(): Promise<void> {
  const gpu = await openGpu(navigator.gpu);
  const report: ModelReport = { rows: [], subgroups: gpu.subgroups, f16: gpu.f16, finished: false };
  window.modelReport = report;
  const variants = [
    { variant: 'as chosen', models: ['dense-4bit', 'dense-bf16', 'dense-3bit'], gpu, f16: false },
    // One model: compiling these takes half a minute on a CPU adapter.
    { variant: gpu.f16 ? 'for GPUs, f16' : 'for GPUs', models: ['dense-4bit'], gpu: { ...gpu, direct: false }, f16: gpu.f16 },
  ];
  const wanted = new URL(location.href).searchParams.has('gpu') ? variants : variants.slice(0, 1);
  for (const { variant, models, gpu: chosen, f16 } of wanted) {
    for (const model of models) {
      const files = await openModel(new URL(`../fixtures/vectors/${model}/`, location.href));
      const { prefill, decode } = await scoreVectors(chosen, files, { chunkTokens: 64, kv: 'f32', f16 });
      report.rows.push({ model, variant, prefill, decode });
    }
  }
  report.finished = true;
}

main().catch((error: unknown) => {
  window.modelReport = {
    ...(window.modelReport ?? { rows: [], subgroups: false, f16: false }),
    finished: true,
    broken: String(error),
  };
});
