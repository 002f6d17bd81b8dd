/** A mixture's conversation in an engine that lacks some experts: what it says, keeps and restores is what one with all of them does. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { EngineCore } from '../../src/engine/engine_core';
import { ModelSession, sessionPlan } from '../../src/engine/model_session';
import { restoreSession, type SessionFacts, saveSession } from '../../src/engine/sessions';
import { openDirectory } from '../../src/node/file_source';
import { openNodeGpu } from '../../src/node/open_gpu';
import { writeSynthetic } from '../../src/node/synth/write';
import { spawnTextWorker } from '../../src/node/text_worker_spawn';
import type { EngineConfig } from '../../src/protocol/engine';
import type { ModelFiles } from '../../src/storage/byte_source';
import { SessionStore } from '../../src/storage/sessions/session_store';
import { openModelSource } from '../../src/stream/model_source';
import { regularLayerTypes } from '../../src/synth/presets';
import { createTextHost, type TextHost } from '../../src/text/text_host';
import { NodeOrigin } from '../storage/store/node_host';
import { bundleTextWorker } from '../text/bundled_worker';

const shapes = {
  ...{ hiddenSize: 128, intermediateSize: 64, vocabSize: 512, numAttentionHeads: 4, numKeyValueHeads: 2, headDim: 64 },
  ...{ layerTypes: regularLayerTypes(4), linearNumKeyHeads: 2, linearNumValueHeads: 4, linearKeyHeadDim: 32 },
  ...{ linearValueHeadDim: 32, tieWordEmbeddings: false },
  moe: { experts: 16, chosen: 2, intermediateSize: 64, sharedIntermediateSize: 64, renormalised: true },
};
const base: EngineConfig = { contextTokens: 320, chunkTokens: 16 };

let folder: string;
let files: ModelFiles;
let text: TextHost;
let script: { url: URL; remove(): void };
const cores: EngineCore[] = [];

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'mixture-'));
  await writeSynthetic({ shapes, bits: 4, out: join(folder, 'model') });
  files = await openDirectory(join(folder, 'model'));
  script = await bundleTextWorker();
  text = createTextHost({ spawn: () => spawnTextWorker(script.url) });
});
afterAll(() => {
  for (const core of cores) core.destroy();
  text.dispose();
  files.close();
  script.remove();
  rmSync(folder, { recursive: true });
});

async function engine(config: EngineConfig = {}): Promise<EngineCore> {
  const gpu = await openNodeGpu();
  const core = await EngineCore.load({ gpu, model: await openModelSource(files), text }, { ...base, ...config });
  cores.push(core);
  return core;
}

async function say(core: EngineCore, ...contents: string[]): Promise<string> {
  const messages = contents.map((content, i) => ({ role: i % 2 === 0 ? 'user' : 'assistant', content }));
  const request = { prompt: { messages, templateKwargs: {} }, sampling: { temperature: 0 }, maxTokens: 71, stop: [] };
  let said = '';
  for await (const event of core.generate(request, new AbortController().signal)) if (event.type === 'text') said += event.text;
  return said;
}

test('a second turn, and one after save and restore, are those of an engine with all experts', async () => {
  const all = await engine();
  // All but a few: most tokens find theirs, and are computed ahead of knowing.
  const { gpu, plan, config, options } = all.session;
  const { slotBytes } = plan.experts!;
  const source = await openModelSource(files, { text: false });
  const { tensors } = source.checkpoint;
  let gpuBudget = plan.bytes.total;
  const holdsAll = () => sessionPlan(gpu, { config, tensors }, { ...options, gpuBudgetBytes: gpuBudget }).experts!.complete;
  while (holdsAll()) gpuBudget -= slotBytes;
  gpuBudget -= 6 * slotBytes;
  await source.close();
  const [some, other] = [await engine({ gpuBudget }), await engine({ gpuBudget })];
  expect(some.session.plan).toMatchObject({ streamedBytesPerToken: 0, experts: { complete: false } });
  const one = await say(all, 'Tell a story.');
  expect(await say(some, 'Tell a story.')).toBe(one);
  const { hits, misses, syncs } = some.session.experts!.counts.decode;
  expect(misses).toBeGreaterThan(0);
  const { experts } = some.info();
  expect(experts!.misses.reduce((sum, missed) => sum + missed)).toBe(misses);
  const asked = experts!.hits.map((found, layer) => found + experts!.misses[layer]!);
  expect(asked).toEqual(Array(4).fill((hits + misses) / 4)); // every token asks every layer
  expect(all.info().experts).toBeUndefined();
  expect(syncs).toBeLessThan(70 * 4); // fewer than one for each layer of each token
  expect(some.session.sequence.slot).not.toBe(0); // an odd number of tokens was computed ahead: what is saved lies elsewhere
  const store = await SessionStore.open<SessionFacts>(new NodeOrigin(join(folder, 'sessions')).tab({}).root);
  await saveSession(some, store, 'chat');
  expect(await restoreSession(other, store, 'chat')).toMatchObject({ from: 'state' });
  expect(await other.session.sequence.save()).toEqual(await some.session.sequence.save());
  const two = await say(all, 'Tell a story.', one, 'And then?');
  expect(await say(some, 'Tell a story.', one, 'And then?')).toBe(two);
  expect(await say(other, 'Tell a story.', one, 'And then?')).toBe(two);
}, 120_000);

test('the GPU decodes by itself only once every expert is there', async () => {
  const gpu = await openNodeGpu();
  const source = await openModelSource(files, { text: false });
  let open = () => {};
  const gate = new Promise<void>((resolve) => {
    open = resolve;
  });
  const sources = new Map(
    [...source.sources].map(([name, own]) => [
      name,
      {
        label: own.label,
        size: own.size,
        close() {},
        read: (...args: Parameters<typeof own.read>) => gate.then(() => own.read(...args)),
      },
    ]),
  );
  const options = { ...base, kv: 'f16', f16: false, gpuLoop: true, answerWhileLoading: true } as const;
  const session = await ModelSession.load(gpu, { ...source.checkpoint, sources }, options as never);
  expect(session.tokenLoops(512)).toBeUndefined();
  open();
  await session.loaded;
  expect(session.tokenLoops(512)).toBeDefined();
  session.destroy();
  await source.close();
});
