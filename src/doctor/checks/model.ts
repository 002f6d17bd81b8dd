/** The bundled model's logits and greedy tokens against the reference implementation's, which lie beside it. */
import { relativeError } from '../../bench/statistics';
import { LogitRow } from '../../engine/logit_row';
import { ModelSession, variantsOf } from '../../engine/model_session';
import { parseSafetensorsHeader, readHeaderLength } from '../../format/safetensors';
import type { ByteSource } from '../../storage/byte_source';
import { openModel } from '../../storage/model_ref';
import { openCheckpoint } from '../../stream/open_checkpoint';
import { type Context, type Outcome, withIdlePlant } from '../context';
import { noPlantYet, planted, whyIdle } from '../plant';
import type { ModelFacts } from '../report';

const prompts = 4;
/** Relative, ||ours - reference|| / ||reference||: what f32 arithmetic may differ by. */
const tolerance = 1e-3;
/** Of each continuation, on an adapter that takes a tenth of a second for one. */
const fewTokens = 12;
/** Closer than this rounding may decide between two tokens. */
const nearTie = 0.01;

export async function checkModel({ gpu: open, options, say }: Context): Promise<Outcome<ModelFacts>> {
  const tally = noPlantYet();
  const gpu = planted(await open(), options.plant, tally);
  await say({ done: 0, total: prompts, step: 'loading' });
  const files = await openModel(new URL(options.modelUrl));
  const expected = await readExpected(await files.open('expected.safetensors'));
  const checkpoint = await openCheckpoint(files);
  const exact = { contextTokens: 512, chunkTokens: 32, kv: 'f32', f16: false, precision: 'exact' } as const;
  const session = await ModelSession.load(gpu, checkpoint, exact);
  const facts: ModelFacts = { variants: variantsOf(session.kernelLabels), prompts: [] };
  try {
    for (let i = 0; i < prompts; i++) {
      await say({ done: i, total: prompts, step: `prompt ${i}` });
      facts.prompts.push(await scorePrompt(session, expected, i));
    }
  } finally {
    session.destroy();
    for (const source of checkpoint.sources.values()) source.close();
  }
  return withIdlePlant({ ...judged(facts), facts }, whyIdle(options.plant, tally));
}

function judged({ prompts }: ModelFacts): Omit<Outcome<ModelFacts>, 'facts'> {
  const problems = prompts.flatMap(({ logitError, tokensCompared, tokensEqual }, i) => [
    ...(logitError <= tolerance
      ? []
      : [`prompt ${i}: relative error of the logits ${logitError.toExponential(1)}, over ${tolerance}`]),
    ...(tokensEqual === tokensCompared ? [] : [`prompt ${i}: token ${tokensEqual} of ${tokensCompared} is another one`]),
  ]);
  if (problems.length > 0)
    return { status: 'failed', summary: 'The bundled model does not say what the reference says.', problems };
  const worst = Math.max(...prompts.map(({ logitError }) => logitError));
  const tokens = prompts.reduce((sum, { tokensCompared }) => sum + tokensCompared, 0);
  return {
    status: 'passed',
    summary: `Logits within ${worst.toExponential(1)} of the reference, and all of ${tokens} tokens the same.`,
  };
}

/** The prompt's last logits, then the reference's own tokens, one step each: is each one our choice as well? */
async function scorePrompt({ sequence, runner, config, gpu }: ModelSession, expected: Map<string, ArrayBuffer>, i: number) {
  const get = (name: string) => expected.get(`${name}_${i}`)!;
  const row = new LogitRow(config.vocabSize);
  const step = (tokens: Uint32Array<ArrayBuffer>) => runner.step([{ sequence, tokens, logits: 'last', onLogits: row.add }]);
  sequence.reset();
  await step(new Uint32Array(get('prompt')));
  const logitError = relativeError(row.values, new Float32Array(get('logits')));
  const greedy = new Uint32Array(get('greedy')).subarray(0, gpu.adapter.isCpu ? fewTokens : undefined);
  let tokensEqual = 0;
  for (const id of greedy) {
    if (!chooses(row.values, id)) break;
    tokensEqual += 1;
    if (tokensEqual < greedy.length) await step(Uint32Array.of(id));
  }
  return { logitError, tokensCompared: greedy.length, tokensEqual };
}

/** `id` has the largest logit, but for what rounding may do. */
function chooses(logits: Float32Array, id: number): boolean {
  const largest = logits.reduce((most, value) => (value > most ? value : most), Number.NEGATIVE_INFINITY);
  return logits[id]! >= largest - nearTie;
}

async function readExpected(source: ByteSource): Promise<Map<string, ArrayBuffer>> {
  const bytes = new Uint8Array(source.size);
  await source.read(0, bytes);
  source.close();
  const length = readHeaderLength(bytes.subarray(0, 8), source.size);
  const infos = parseSafetensorsHeader(bytes.subarray(8, 8 + length), source.label, source.size);
  return new Map(
    infos.map(({ name, byteOffset, byteLength }) => [name, bytes.slice(byteOffset, byteOffset + byteLength).buffer]),
  );
}
