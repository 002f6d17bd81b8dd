/**
 * The layers of the 27B model with nothing for the GPU to do: matrices as small as can be, and every shader empty. Pipelines, bind groups,
 * dispatches, submits and readbacks are those of a GPU whatever adapter this is, so what is left of a token is the worker's own time.
 */
import { expose } from 'comlink';
import { countCalls } from '../../../src/bench/count_calls';
import { openPreset } from '../../../src/bench/preset';
import { type Generation, generate } from '../../../src/engine/generate';
import type { ModelSession } from '../../../src/engine/model_session';
import { EngineError } from '../../../src/errors';
import { openGpu } from '../../../src/gpu/device';
import { describeSynthetic } from '../../../src/synth/layout';
import { presetShapes, type SyntheticShapes } from '../../../src/synth/presets';

/** Three value heads for each key head, six queries for each key: 27B's ratios. */
const smallest: Partial<SyntheticShapes> = {
  hiddenSize: 64,
  intermediateSize: 64,
  vocabSize: 512,
  numAttentionHeads: 6,
  numKeyValueHeads: 1,
  headDim: 32,
  linearNumKeyHeads: 2,
  linearNumValueHeads: 6,
  linearKeyHeadDim: 32,
  linearValueHeadDim: 32,
};

/** Where a measured reply begins and ends, as marks in the trace of this thread. */
export const marks = { start: 'sluice-decode', end: 'sluice-decoded' };

let session: ModelSession;

/** Layouts of pipelines are explicit, so any of them takes a shader that uses no binding. */
const emptyShader = '@compute @workgroup_size(1) fn main() {}';

function emptyShaders(): void {
  const { createShaderModule } = GPUDevice.prototype;
  GPUDevice.prototype.createShaderModule = function (descriptor) {
    return createShaderModule.call(this, { ...descriptor, code: emptyShader });
  };
}

emptyShaders();

const worker = {
  async open(precision: 'exact' | 'fast'): Promise<{ layers: number; adapter: string }> {
    const found = await openGpu(navigator.gpu, { direct: false });
    const gpu = { ...found, adapter: { ...found.adapter, isCpu: false } };
    const shapes = { ...presetShapes('qwen3.5-27b'), ...smallest };
    session = await openPreset(gpu, describeSynthetic({ shapes, bits: 4 }), { contextTokens: 1024, precision });
    return { layers: shapes.layerTypes.length, adapter: `${found.adapter.vendor} ${found.adapter.architecture}` };
  },

  /** One reply, from the first id that came back to the last; `wallMs` of a token between them. */
  async reply(tokens: number): Promise<{ wallMs: number }> {
    const times: number[] = [];
    await run(tokens, () => {
      if (times.length === 0) performance.mark(marks.start);
      times.push(performance.now());
    });
    performance.mark(marks.end);
    return { wallMs: (times.at(-1)! - times[0]!) / (times.length - 1) };
  },

  /** Of one token. */
  async counts(): Promise<{ dispatches: number; submits: number }> {
    await run(10, () => {}); // the engine still learns how much a submit may hold
    const [short, long] = [await counted(2), await counted(10)];
    return { dispatches: (long.dispatches - short.dispatches) / 8, submits: (long.submits - short.submits) / 8 };
  },
};

async function counted(tokens: number) {
  const { counts, stop } = countCalls();
  try {
    await run(tokens, () => {});
  } finally {
    stop();
  }
  return counts;
}

/** Through the engine's own loop, with the sampling that decode figures are given for. Only text is left out, which another worker does. */
async function run(tokens: number, onToken: () => void): Promise<void> {
  session.sequence.reset();
  const generation: Generation = {
    session,
    text: {
      encode: async () => [1, 2, 3],
      encodeChat: async () => ({ ids: [1, 2, 3], opensThinking: false }),
      describeTokens: async () => [],
      openConstraint: () => Promise.reject(new EngineError('unsupported', 'A measurement has no text to constrain.')),
      openStream: () => ({
        push: async (ids) => {
          onToken();
          return { text: '.', stopped: false, used: ids.length };
        },
        finish: async () => '',
        close: () => {},
      }),
    },
    defaults: { eosTokenIds: [] },
    vocab: session.config.vocabSize,
    stopIds: new Set(),
  };
  const sampling = { temperature: 0.7, top_k: 20, top_p: 0.95, seed: 1 };
  const request = { prompt: { text: '' }, sampling, maxTokens: tokens, stop: [] };
  for await (const _ of generate(generation, request, new AbortController().signal));
}

export type CpuWorker = typeof worker;
expose(worker);
