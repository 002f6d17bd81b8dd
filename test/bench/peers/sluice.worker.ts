/** Sluice's side: its products as chains, a whole model through the engine's own loop. */
import { expose } from 'comlink';
import { effortOn } from '../../../src/bench/ceilings';
import { benchKernels } from '../../../src/bench/kernels';
import type { BenchMatrix } from '../../../src/bench/matrices';
import { benchModel } from '../../../src/bench/model';
import { openPreset, smallShapes } from '../../../src/bench/preset';
import { type AdapterFacts, type Gpu, openGpu } from '../../../src/gpu/device';
import { describeSynthetic } from '../../../src/synth/layout';
import { type PresetName, presetShapes, type SyntheticShapes } from '../../../src/synth/presets';

/** [rows, cols] */
export type Matrix = readonly [number, number];

/** `exact`: f32 activations; `fast`: int16, as the engine's `precision: 'fast'`. Microseconds, of the best variant that is right. */
export type ProductRow = { matrix: Matrix; tokens: number; exact?: BestVariant; fast?: BestVariant };
type BestVariant = { us: number; variant: string };

export type ModelRow = { precision: string; decodeTokensPerSecond: number; prefillTokensPerSecond: number; weightBytes: number };

export type ModelRun = { shapes: SyntheticShapes; promptTokens: number; decodeTokens: number; repeat: number };

let gpu: Gpu;

const worker = {
  async open(): Promise<AdapterFacts> {
    gpu = await openGpu(navigator.gpu);
    return gpu.adapter;
  },

  /** The model's shapes; on a CPU adapter those of a small one of the same kind. */
  shapesOf(preset: PresetName): SyntheticShapes {
    return gpu.adapter.isCpu ? smallShapes(presetShapes(preset)) : presetShapes(preset);
  },

  async products(matrices: readonly Matrix[], tokens: number, rotateBytes: number): Promise<ProductRow[]> {
    const rows = await benchKernels(gpu, {
      matrices: matrices.map(benchMatrix),
      tokens: [tokens],
      rotateBytes,
      effort: effortOn(gpu),
    });
    return matrices.map((matrix) => {
      const best = (activations: string): BestVariant | undefined => {
        const found = rows.find(
          (row) => row.best && row.activations === activations && row.rows === matrix[0] && row.cols === matrix[1],
        );
        return found && { us: found.us!, variant: found.candidate };
      };
      return { matrix, tokens, exact: best('f32'), fast: best('int16') };
    });
  },

  async model(run: ModelRun, precision: 'exact' | 'fast'): Promise<ModelRow> {
    const described = describeSynthetic({ shapes: run.shapes, bits: 4 });
    const [figures] = await benchModel(gpu, {
      ...{ contexts: [0], seed: 1, promptTokens: run.promptTokens, decodeTokens: run.decodeTokens, repeat: run.repeat },
      open: (gpu, contextTokens) => openPreset(gpu, described, { contextTokens, precision }),
    });
    if (!figures || 'skipped' in figures) throw new Error(`The model did not run: ${figures?.skipped}`);
    const { decodeTokensPerSecond, prefillTokensPerSecond, bytesPerToken } = figures;
    return {
      precision,
      decodeTokensPerSecond: decodeTokensPerSecond.median,
      prefillTokensPerSecond: prefillTokensPerSecond.median,
      weightBytes: bytesPerToken.weights,
    };
  },

  close(): void {
    gpu.device.destroy();
  },
};

function benchMatrix([rows, cols]: Matrix): BenchMatrix {
  const format = { kind: 'affine', bits: 4, group: 64, pair: 'bf16' } as const;
  return { label: `${rows}x${cols}`, rows, cols, format, perToken: 1, head: false };
}

export type SluicePeer = typeof worker;
expose(worker);
