/** Synthetic models for a hub to serve: small ones made in memory, large ones on disk. */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { writeSynthetic } from '../../src/node/synth/write';
import { layOutSynthetic, type SyntheticModel } from '../../src/synth/layout';
import { regularLayerTypes, type SyntheticShapes } from '../../src/synth/presets';
import { madeTokenizer } from '../../src/synth/texts';
import { type FileContent, fileContent } from '../servers/hub_server';

/** The architecture scaled down: with 384 columns about 1 MB a layer at 4 bits. */
export function shapesOf({
  layers,
  hiddenSize = 384,
  vocabSize = 2048,
}: {
  layers: number;
  hiddenSize?: number;
  vocabSize?: number;
}): SyntheticShapes {
  return {
    hiddenSize,
    intermediateSize: Math.round((hiddenSize * 8) / 3 / 64) * 64,
    vocabSize,
    numAttentionHeads: 4,
    numKeyValueHeads: 2,
    headDim: 64,
    layerTypes: regularLayerTypes(layers),
    linearNumKeyHeads: 4,
    linearNumValueHeads: 8,
    linearKeyHeadDim: 64,
    linearValueHeadDim: 64,
    tieWordEmbeddings: false,
  };
}

/** Every file by name, with a tokenizer that reads a text byte by byte. */
export function syntheticFiles(model: SyntheticModel & { shapes: SyntheticShapes }): Map<string, FileContent> {
  const { texts, shards, values } = layOutSynthetic(model, madeTokenizer(model.shapes.vocabSize));
  const files = new Map<string, FileContent>();
  for (const [name, text] of texts) files.set(name, new TextEncoder().encode(text));
  for (const { file, head, tensors } of shards) {
    files.set(file, Buffer.concat([head, ...tensors.flatMap((tensor) => [...values.pieces(tensor)])]));
  }
  return files;
}

/** The same, written to `folder`, which is made for it. */
export async function syntheticFolder(model: SyntheticModel, folder: string): Promise<Map<string, FileContent>> {
  await writeSynthetic({ ...model, out: folder });
  return new Map(readdirSync(folder).map((name) => [name, fileContent(join(folder, name))]));
}

/** Text of `tokens` tokens for such a tokenizer: a byte is one. */
export function promptOf(tokens: number): string {
  return 'The quick brown fox jumps over the lazy dog. '.repeat(Math.ceil(tokens / 45)).slice(0, tokens);
}
