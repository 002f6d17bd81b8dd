/**
 * Sluice beside onnxruntime-web and wllama, one after another on one device. The query: `only` (ort, wllama), `tokens` of the products,
 * `preset` of the whole model, `post`: where the results go as JSON when all is over, an error included.
 */
import { wrap } from 'comlink';
import OrtWorker from './ort.worker.js?worker';
import { report } from './report.js';
import SluiceWorker from './sluice.worker.ts?worker';
import { measureWllama } from './wllama.js';

const query = new URL(location.href).searchParams;
const only = query.get('only')?.split(',') ?? ['ort', 'wllama'];
const mib = 2 ** 20;

/** Up and down projections, so that each product's output is what the next one reads. */
const chains = [
  {
    model: '0.8B',
    shapes: [
      [3584, 1024],
      [1024, 3584],
    ],
  },
  {
    model: '9B',
    shapes: [
      [12288, 4096],
      [4096, 12288],
    ],
  },
  {
    model: '27B',
    shapes: [
      [17408, 5120],
      [5120, 17408],
    ],
  },
];
/** Its fastest is what counts. 64 is Sluice's group, 32 its usual block. */
const ortWays = ['jspi', 'asyncify'].flatMap((build) =>
  [64, 32].flatMap((block) => [false, true].map((capture) => ({ build, block, capture }))),
);
const ortLimitMs = 60_000;
const smallChains = [
  {
    model: 'small',
    shapes: [
      [256, 128],
      [128, 256],
    ],
  },
];
const sizes = (isCpu) =>
  isCpu
    ? {
        chains: smallChains,
        tokens: [1],
        rotateBytes: mib / 4,
        effort: { seconds: 0.2, batchMs: 1 },
        promptTokens: 16,
        decodeTokens: 8,
        repeat: 1,
      }
    : {
        chains,
        tokens: [1],
        rotateBytes: 256 * mib,
        effort: { seconds: 0.5, batchMs: 20 },
        promptTokens: 128,
        decodeTokens: 128,
        repeat: 3,
      };

globalThis.outcome = run().catch((error) => ({ error: `${error.name}: ${error.message}` }));
const outcome = await globalThis.outcome;
document.querySelector('#out').textContent = outcome.error ?? report(outcome);
if (query.has('post')) await fetch(query.get('post'), { method: 'POST', body: JSON.stringify(outcome) });

async function run() {
  const worker = new SluiceWorker();
  const sluice = wrap(worker);
  const adapter = await sluice.open();
  const asked = query.get('tokens')?.split(',').map(Number);
  const { tokens, ...size } = { ...sizes(adapter.isCpu), ...(asked ? { tokens: asked } : {}) };
  const result = { bench: 'peers', userAgent: navigator.userAgent, adapter };
  if (only.includes('ort')) result.products = await measureProducts(sluice, tokens, size);
  if (only.includes('wllama')) result.models = await measureModels(sluice, size);
  await sluice.close();
  worker.terminate();
  return result;
}

async function measureProducts(sluice, tokenCounts, { chains, rotateBytes, effort }) {
  const rows = [];
  for (const tokens of tokenCounts) {
    for (const { model, shapes } of chains) {
      say(`${model}, ${tokens} tokens: Sluice`);
      const products = await sluice.products(shapes, tokens, rotateBytes);
      const ort = [];
      for (const way of ortWays) {
        say(`${model}, ${tokens} tokens: onnxruntime-web, ${JSON.stringify(way)}`);
        ort.push({ ...way, ...(await measureOrt({ shapes, tokens }, way, rotateBytes, effort)) });
      }
      rows.push({ model, shapes, tokens, sluice: products, ort });
    }
  }
  return rows;
}

/** In a worker of its own, which takes its device with it. */
async function measureOrt({ shapes, tokens }, { build, block, capture }, rotateBytes, effort) {
  const bytes = shapes.reduce((sum, [rows, cols]) => sum + (rows * cols) / 2, 0);
  const copies = Math.max(2, Math.ceil(rotateBytes / bytes));
  const worker = new OrtWorker();
  const failed = new Promise((_, reject) => {
    worker.addEventListener('error', ({ message }) => reject(new Error(message)));
    setTimeout(() => reject(new Error(`no result within ${ortLimitMs / 1000} s`)), ortLimitMs);
  });
  try {
    const chain = { shapes, tokens, block, copies, accuracyLevel: 4 };
    return await Promise.race([wrap(worker).measure({ build, chain, capture, ...effort }), failed]);
  } catch (error) {
    return { error: error.message.split('\n')[0] };
  } finally {
    worker.terminate();
  }
}

async function measureModels(sluice, { promptTokens, decodeTokens, repeat }) {
  const preset = query.get('preset') ?? 'qwen3.5-0.8b';
  const shapes = await sluice.shapesOf(preset);
  const run = { shapes, promptTokens, decodeTokens, repeat };
  const own = [];
  for (const precision of ['exact', 'fast']) {
    say(`${preset}: Sluice, ${precision}`);
    own.push(await sluice.model(run, precision));
  }
  say(`${preset}: wllama`);
  const f16 = (await navigator.gpu.requestAdapter())?.features.has('shader-f16') ?? false;
  const wllama = await measureWllama(run).catch((error) => ({ error: error.message }));
  return { preset, small: shapes.vocabSize < 1000, promptTokens, decodeTokens, sluice: own, f16, wllama };
}

function say(text) {
  document.querySelector('#out').textContent = `${text} …`;
  if (query.has('post')) fetch('/log', { method: 'POST', body: text }).catch(() => {});
}
