/** `synth`: a checkpoint of a published model's shapes with random weights, for measuring what a real one would cost. */

import { syntheticBits } from '../synth/layout';
import { presetNames } from '../synth/presets';
import { decimal, oneOf, readOptions, required, wholeNumber } from './arguments';
import { writeSynthetic } from './synth/write';

const usage =
  `synth --preset <${presetNames.join('|')}> --out <dir> [--bits 3|4|16] [--group 32|64|128] [--layers n] [--seed n] ` +
  '[--shard-bytes n] [--shuffle] [--skew x [--locality x]] [--tokenizer <dir>] [--force]';

export async function synth(args: readonly string[]): Promise<void> {
  const o = readOptions(
    args,
    {
      preset: 'text',
      out: 'text',
      bits: 'text',
      group: 'text',
      layers: 'text',
      seed: 'text',
      'shard-bytes': 'text',
      shuffle: 'flag',
      tokenizer: 'text',
      force: 'flag',
      skew: 'text',
      locality: 'text',
    },
    usage,
  );
  const preset = oneOf('preset', required('preset', o.preset, usage), presetNames)!;
  const out = required('out', o.out, usage);
  const bits = oneOf('bits', o.bits, ['3', '4', '16']) ?? '4';
  const groupSize = Number(oneOf('group', o.group, ['32', '64', '128']) ?? 64);
  const seed = wholeNumber('seed', o.seed, { least: 0, most: 2 ** 31 - 1 }) ?? 0;
  const layers = wholeNumber('layers', o.layers, { least: 1, most: 1024 });
  const shardBytes = wholeNumber('shard-bytes', o['shard-bytes'], { least: 1, most: 2 ** 40 });
  const skew = decimal('skew', o.skew, { least: 0, most: 10 });
  const locality = decimal('locality', o.locality, { least: 0, most: 1 });
  const popularity = { ...(skew === undefined ? {} : { skew }), ...(locality === undefined ? {} : { locality }) };
  const report = await writeSynthetic({
    preset,
    out,
    bits: syntheticBits.find((known) => String(known) === bits)!,
    groupSize,
    seed,
    ...(layers === undefined ? {} : { layers }),
    ...(shardBytes === undefined ? {} : { shardBytes }),
    ...popularity,
    shuffle: o.shuffle === true,
    ...(typeof o.tokenizer === 'string' ? { tokenizer: o.tokenizer } : {}),
    force: o.force === true,
    onStart: ({ bytes, shards }) =>
      console.error(
        `Writing ${(bytes / 1e9).toFixed(2)} GB in ${shards.length === 1 ? 'one file' : `${shards.length} shards`} to ${out}`,
      ),
  });
  console.log(JSON.stringify({ preset, out, bits: Number(bits), groupSize, seed, ...popularity, ...report }));
}
