/**
 * onnxruntime-web's WebGPU MatMulNBits. Weights, activations and what lies between stay on the GPU; nothing but the GPU may run a node.
 */
import { expose } from 'comlink';
import { matMulChain } from './onnx_chain.js';

/** By how WebAssembly waits for the GPU. Which is faster is for the measurement to say. */
const builds = { jspi: () => import('onnxruntime-web/jspi'), asyncify: () => import('onnxruntime-web/webgpu') };

/**
 * `chain`: of onnx_chain.js. `capture`: commands are recorded once and replayed. Microseconds for one pass over `chain.shapes`;
 * `encodeUs`: until the calls return.
 */
async function measure({ build, chain, seconds, batchMs, capture }) {
  const ort = await builds[build]();
  ort.env.wasm.numThreads = 1;
  ort.env.logLevel = 'error';
  const session = await ort.InferenceSession.create(matMulChain(chain), {
    executionProviders: ['webgpu'],
    preferredOutputLocation: 'gpu-buffer',
    enableGraphCapture: capture,
    extra: { session: { disable_cpu_ep_fallback: '1' } },
  });
  const device = await ort.env.webgpu.device;
  const sizes = [chain.shapes[0][1], chain.shapes.at(-1)[0]].map((columns) => chain.tokens * columns);
  const [x, y] = sizes.map((size) => {
    const { STORAGE, COPY_SRC, COPY_DST } = GPUBufferUsage;
    return device.createBuffer({ size: size * 4, usage: STORAGE | COPY_SRC | COPY_DST });
  });
  const start = Float32Array.from({ length: sizes[0] }, (_, i) => Math.sin(i * 12.9898) * 1.4);
  device.queue.writeBuffer(x, 0, start);
  const tensor = (buffer, size) =>
    ort.Tensor.fromGpuBuffer(buffer, { dataType: 'float32', dims: [chain.tokens, size / chain.tokens] });
  const [feeds, fetches] = [{ x: tensor(x, sizes[0]) }, { y: tensor(y, sizes[1]) }];
  try {
    const batch = async (runs) => {
      await device.queue.onSubmittedWorkDone();
      const started = performance.now();
      for (let i = 0; i < runs; i++) await session.run(feeds, fetches);
      const encoded = performance.now();
      await device.queue.onSubmittedWorkDone();
      return { ms: performance.now() - started, encodeMs: encoded - started };
    };
    for (let i = 0; i < 3; i++) await batch(1);
    let runs = 1;
    for (let { ms } = await batch(runs); ms < batchMs; { ms } = await batch(runs))
      runs = Math.ceil(runs * Math.min(8, (1.2 * batchMs) / ms + 0.1));
    const times = [];
    const until = performance.now() + 1000 * seconds;
    while (times.length < 3 || (performance.now() < until && times.length < 50)) times.push(await batch(runs));
    await checkResult(device, y, sizes[1]);
    const passes = runs * chain.copies;
    const median = (of) => times.map(of).sort((a, b) => a - b)[times.length >> 1];
    return {
      us: (1000 * median(({ ms }) => ms)) / passes,
      encodeUs: (1000 * median(({ encodeMs }) => encodeMs)) / passes,
      batches: times.length,
      passesPerBatch: passes,
    };
  } finally {
    await session.release();
    for (const buffer of [x, y]) buffer.destroy();
  }
}

/** Figures of a chain that computed nothing would be worth nothing. */
async function checkResult(device, buffer, size) {
  const { MAP_READ, COPY_DST } = GPUBufferUsage;
  const staging = device.createBuffer({ size: size * 4, usage: MAP_READ | COPY_DST });
  const encoder = device.createCommandEncoder();
  encoder.copyBufferToBuffer(buffer, 0, staging, 0, size * 4);
  device.queue.submit([encoder.finish()]);
  await staging.mapAsync(GPUMapMode.READ);
  const values = new Float32Array(staging.getMappedRange());
  const deviation = Math.sqrt(values.reduce((sum, value) => sum + value * value, 0) / size);
  staging.destroy();
  if (!(deviation > 1e-6 && deviation < 1e6)) throw new Error(`the chain's result has a deviation of ${deviation}`);
}

expose({ measure });
