/**
 * The weights of a synthetic checkpoint, made in the slabs that a plan has for them: a model of any size is there in a moment, and no
 * byte of it is loaded or written to a disk. Scaled as src/synth/tensors.ts says, so that logits are like a trained model's.
 */
import type { WeightMaker } from '../engine/model_session';
import type { Gpu } from '../gpu/device';
import type { Fill } from '../plan/blocks';
import { fillBytes, type SlotImage, windowsOf } from '../plan/windows';
import { memorySource } from '../storage/memory';
import { type Sources, WindowFiller } from '../stream/fill';
import type { SyntheticDescription } from '../synth/layout';
import type { SyntheticTensor } from '../synth/tensors';
import { createWeightFiller, type WeightFiller } from './probes';

const windowBytes = 4 * 2 ** 20;

/** `gpu`: not the memory of the session, whose plan knows nothing of what making takes. */
export function weightsOnDevice(gpu: Gpu, described: SyntheticDescription): WeightMaker {
  return async (plan, slabs) => {
    const filler = await createWeightFiller(gpu);
    const maker = new Maker(filler, described);
    for (const [i, { images }] of plan.placement.slabs.entries()) {
      for (const { image, byteOffset } of images) {
        if (image === plan.model.vectors) await writeVectors(gpu, described, image, slabs[i]!, byteOffset);
        else maker.make(image, slabs[i]!, byteOffset);
      }
    }
    const firstOfExperts = plan.placement.slabs.length;
    if (!plan.experts?.complete) return; // others are read as tokens choose them
    for (const [i, { firstLayer, layers }] of plan.experts.slabs.entries()) {
      let at = 0;
      for (const { moe } of plan.model.layers.slice(firstLayer, firstLayer + layers)) {
        for (let expert = 0; expert < moe!.experts.count; expert++, at += plan.experts.slotBytes)
          maker.make(moe!.experts.image(expert), slabs[firstOfExperts + i]!, at);
      }
    }
  };
}

class Maker {
  readonly #filler: WeightFiller;
  readonly #contents: ReadonlyMap<string, SyntheticTensor>;
  readonly #seeds: ReadonlyMap<string, number>;

  constructor(filler: WeightFiller, { contents }: SyntheticDescription) {
    this.#filler = filler;
    this.#contents = contents;
    this.#seeds = new Map([...contents.keys()].map((name, i) => [name, Math.imul(i + 1, 0x9e3779b9) >>> 0]));
  }

  make(image: SlotImage, slab: GPUBuffer, byteOffset: number): void {
    for (const { block, byteOffset: inImage } of image.blocks)
      for (const fill of block.fills) this.#fill(fill, slab, byteOffset + inImage + fill.at);
  }

  #fill(fill: Fill, slab: GPUBuffer, at: number): void {
    const from = fill.kind === 'pairs' ? fill.scales : fill.kind === 'copy' ? fill.from : undefined;
    const content = from && this.#contents.get(from.file)?.content;
    if (!from || !content) throw new Error(`no weights are made for a fill of kind '${fill.kind}'`);
    const seed = this.#seeds.get(from.file)!;
    const bytes = fillBytes(fill);
    // A pair takes a word where its scale alone takes half of one.
    const start = content.kind === 'scales' ? from.byteOffset / 2 : from.byteOffset / 4;
    if (content.kind === 'q') this.#filler.words(slab, { at, bytes, start, seed });
    else if (content.kind === 'scales') this.#filler.pairs(slab, { at, bytes, start, seed, ...content });
    else if (content.kind === 'bf16') this.#filler.bf16(slab, { at, bytes, start, seed, ...content });
  }
}

/** Small parameters go up from the CPU, as those of a checkpoint do. */
async function writeVectors(
  gpu: Gpu,
  { contents, values }: SyntheticDescription,
  image: SlotImage,
  slab: GPUBuffer,
  byteOffset: number,
): Promise<void> {
  const vectors = [...contents.values()].filter(({ content }) => content.kind === 'vector');
  const sources: Sources = new Map(vectors.map((tensor) => [tensor.name, memorySource([...values.pieces(tensor)][0]!)]));
  const filler = new WindowFiller(sources);
  const memory = new Uint8Array(windowBytes);
  for (const window of windowsOf(image, windowBytes)) {
    await filler.fill(window, memory);
    gpu.device.queue.writeBuffer(slab, byteOffset + window.at, memory, 0, window.bytes);
  }
}
