/** wllama: llama.cpp in WebAssembly, on its WebGPU backend where that starts, else on the CPU. */
import { Wllama } from '@wllama/wllama';
import wasm from '@wllama/wllama/esm/wasm/wllama.wasm?url';
import { ggufModel } from './gguf.js';

/** On the CPU, which is no comparison: enough to see that it runs. */
const cpuSize = { promptTokens: 16, decodeTokens: 8, repeat: 1 };

/** Decode tokens per second in the shapes of `shapes`, as `sluice.worker.ts` measures them. */
export async function measureWllama({ shapes, promptTokens, decodeTokens, repeat }) {
  const lines = [];
  const keep = (...words) => void lines.push(words.map(String).join(' '));
  const wllama = new Wllama({ default: wasm }, { logger: { debug: keep, log: keep, warn: keep, error: keep } });
  wllama.setCompat(null);
  const { file, weightBytes } = ggufModel(shapes);
  const started = performance.now();
  try {
    await wllama.loadModel([new File([file], 'model.gguf')], { n_ctx: promptTokens + decodeTokens + 64, log_level: 2 });
    const loadMs = performance.now() - started;
    const backend = backendIn(lines);
    const size = backend === 'cpu' ? cpuSize : { promptTokens, decodeTokens, repeat };
    const runs = [];
    for (let i = 0; i <= size.repeat; i++) {
      const { timings } = await wllama.createCompletion({
        prompt: `${i}${'a'.repeat(size.promptTokens - 4)}`,
        max_tokens: size.decodeTokens,
        temperature: 0.7,
        top_k: 20,
        top_p: 0.95,
        ignore_eos: true,
        seed: 1,
      });
      if (i > 0) runs.push(timings); // the first one compiles shaders
    }
    const median = (of) => runs.map(of).sort((a, b) => a - b)[runs.length >> 1];
    return {
      backend,
      threads: wllama.getNumThreads(),
      loadMs,
      weightBytes,
      decodeTokensPerSecond: median(({ predicted_per_second }) => predicted_per_second),
      prefillTokensPerSecond: median(({ prompt_per_second }) => prompt_per_second),
      decodeTokens: runs[0].predicted_n,
      log: lines.filter((line) => /webgpu|offload|adapter/i.test(line)).slice(0, 20),
    };
  } catch (error) {
    throw new Error(`${error.message}\n${lines.slice(-15).join('\n')}`);
  } finally {
    await wllama.exit().catch(() => {});
  }
}

/** What its own log says: a backend that does not start is passed over in silence. */
function backendIn(lines) {
  const started = /webgpu\S*\s+(model|compute) buffer size|offloaded [1-9]\d*\/\d+ layers to GPU/i;
  return lines.some((line) => started.test(line)) ? 'webgpu' : 'cpu';
}
