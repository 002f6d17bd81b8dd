/**
 * Everything that one sequence remembers, as one object: keys and values of the attention layers, recurrent and conv state
 * of the GatedDeltaNet layers, and how many tokens went in. Attention can forget by lowering `length`; recurrent state
 * cannot, so it comes in slots: a step reads one slot and writes one (they may be equal), and going back is a change of index.
 */
import { EngineError } from '../errors';
import type { ModelConfig } from '../format/types';
import type { Gpu } from '../gpu/device';
import { Readback } from '../gpu/readback';
import type { KvDtype } from '../kernels/variants';
import { stateBytes } from '../plan/shapes';

export type SequenceShape = { contextTokens: number; kv: KvDtype; slots: number };

/** keys, values [contextTokens, kvHeads, headDim] of `kv`. */
export type AttentionState = { kind: 'full_attention'; keys: GPUBuffer; values: GPUBuffer };
/** recurrent [slots, valueHeads, keyDim, valueDim] f32, conv [slots, 3, channels] f32. */
export type DeltaNetState = { kind: 'linear_attention'; recurrent: GPUBuffer; conv: GPUBuffer };
export type LayerState = AttentionState | DeltaNetState;

/** A piece of a buffer. */
export type BufferBytes = { buffer: GPUBuffer; byteOffset: number; bytes: number };

/** A sequence's state read back to the CPU: bytes per buffer, in layer order. */
export type SavedSequence = { length: number; layers: { a: Uint8Array<ArrayBuffer>; b: Uint8Array<ArrayBuffer> }[] };

export class Sequence {
  /** Tokens consumed so far; the next token's position. */
  length = 0;
  /** The slot that holds the recurrent state of `length` tokens. */
  slot = 0;
  /** Rises with every step, reset and return to an earlier state: whoever remembers what was read sees that others read too. */
  changes = 0;
  readonly shape: SequenceShape;
  readonly layers: readonly LayerState[];
  readonly #gpu: Gpu;
  readonly #bytes: ReturnType<typeof stateBytes>;

  private constructor(gpu: Gpu, shape: SequenceShape, layers: LayerState[], bytes: ReturnType<typeof stateBytes>) {
    this.#gpu = gpu;
    this.shape = shape;
    this.layers = layers;
    this.#bytes = bytes;
  }

  /** @throws EngineError 'budget' if the device cannot hold it. */
  static async create(gpu: Gpu, config: ModelConfig, shape: SequenceShape): Promise<Sequence> {
    const bytes = stateBytes(config, shape.kv);
    const made: GPUBuffer[] = [];
    const make = (label: string, size: number) => {
      const buffer = gpu.memory.create(label, size, GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST);
      made.push(buffer);
      return buffer;
    };
    const binding = gpu.device.limits.maxStorageBufferBindingSize;
    if (bytes.kvPerToken * shape.contextTokens > binding) {
      const most = Math.floor(binding / bytes.kvPerToken);
      throw new EngineError(
        'budget',
        `A context of ${shape.contextTokens} tokens needs more than this device can bind at once. Lower contextTokens to ${most}.`,
      );
    }
    try {
      const layers = await gpu.memory.guarded('the KV cache and recurrent state', () =>
        config.layerTypes.map(
          (kind, i): LayerState =>
            kind === 'full_attention'
              ? {
                  kind,
                  keys: make(`layers.${i}.keys`, bytes.kvPerToken * shape.contextTokens),
                  values: make(`layers.${i}.values`, bytes.kvPerToken * shape.contextTokens),
                }
              : {
                  kind,
                  recurrent: make(`layers.${i}.recurrent`, bytes.recurrentPerSlot * shape.slots),
                  conv: make(`layers.${i}.conv`, bytes.convPerSlot * shape.slots),
                },
        ),
      );
      return new Sequence(gpu, shape, layers, bytes);
    } catch (error) {
      for (const buffer of made) gpu.memory.destroy(buffer);
      throw error;
    }
  }

  /** Back to no tokens. Keys and values need no clearing: positions past `length` are never read. */
  reset(): void {
    const encoder = this.#gpu.device.createCommandEncoder({ label: 'reset sequence' });
    for (const layer of this.layers) {
      if (layer.kind !== 'linear_attention') continue;
      encoder.clearBuffer(layer.recurrent, 0, this.#bytes.recurrentPerSlot);
      encoder.clearBuffer(layer.conv, 0, this.#bytes.convPerSlot);
    }
    this.#gpu.device.queue.submit([encoder.finish()]);
    this.changes++;
    this.length = 0;
    this.slot = 0;
  }

  /** Where recurrent and conv state of a slot lie, layer by layer. */
  state(slot: number): BufferBytes[] {
    const { recurrentPerSlot, convPerSlot } = this.#bytes;
    return this.layers.flatMap((layer) => {
      if (layer.kind !== 'linear_attention') return [];
      return [
        { buffer: layer.recurrent, byteOffset: slot * recurrentPerSlot, bytes: recurrentPerSlot },
        { buffer: layer.conv, byteOffset: slot * convPerSlot, bytes: convPerSlot },
      ];
    });
  }

  /** Where keys and values of the first `length` tokens lie, layer by layer. */
  keysAndValues(length: number): BufferBytes[] {
    const bytes = length * this.#bytes.kvPerToken;
    return this.layers.flatMap((layer) => {
      if (layer.kind !== 'full_attention') return [];
      return [layer.keys, layer.values].map((buffer) => ({ buffer, byteOffset: 0, bytes }));
    });
  }

  /** Says where the sequence is now: after `length` tokens, with recurrent and conv state in `slot`, whoever put them there. */
  place(length: number, slot: number): void {
    this.changes++;
    this.length = length;
    this.slot = slot;
  }

  /** Returns to `length` tokens, whose recurrent state lies in `slot`. */
  rollBack(length: number, slot: number): void {
    if (length > this.length) throw new EngineError('internal', `Cannot roll forward from ${this.length} to ${length} tokens.`);
    this.changes++;
    this.length = length;
    this.slot = slot;
  }

  /** Reads the whole state back: only the tokens in use and the current slot. */
  async save(): Promise<SavedSequence> {
    const layers: SavedSequence['layers'] = [];
    for (const layer of this.layers) {
      const [a, b] = this.#regions(layer, this.length, this.slot);
      layers.push({ a: await this.#read(a), b: await this.#read(b) });
    }
    return { length: this.length, layers };
  }

  /** Puts a saved state back, into slot 0. @throws EngineError 'shape' if it came from another model or is too long. */
  restore(saved: SavedSequence): void {
    if (saved.length > this.shape.contextTokens || saved.layers.length !== this.layers.length) {
      throw new EngineError(
        'shape',
        `A saved sequence of ${saved.length} tokens and ${saved.layers.length} layers does not fit this model's context.`,
      );
    }
    const writes = this.layers.flatMap((layer, i) => {
      const [a, b] = this.#regions(layer, saved.length, 0);
      return [
        { ...a, saved: saved.layers[i]!.a },
        { ...b, saved: saved.layers[i]!.b },
      ];
    });
    for (const { bytes, saved } of writes) {
      if (saved.byteLength !== bytes)
        throw new EngineError('shape', `A saved sequence has ${saved.byteLength} bytes where this model has ${bytes}.`);
    }
    for (const { buffer, byteOffset, bytes, saved } of writes)
      if (bytes > 0) this.#gpu.device.queue.writeBuffer(buffer, byteOffset, saved);
    this.changes++;
    this.length = saved.length;
    this.slot = 0;
  }

  destroy(): void {
    for (const layer of this.layers) {
      for (const buffer of layer.kind === 'full_attention' ? [layer.keys, layer.values] : [layer.recurrent, layer.conv])
        this.#gpu.memory.destroy(buffer);
    }
  }

  #regions(layer: LayerState, length: number, slot: number): readonly [BufferBytes, BufferBytes] {
    const { kvPerToken, recurrentPerSlot, convPerSlot } = this.#bytes;
    if (layer.kind === 'full_attention') {
      const bytes = length * kvPerToken;
      return [
        { buffer: layer.keys, byteOffset: 0, bytes },
        { buffer: layer.values, byteOffset: 0, bytes },
      ];
    }
    return [
      { buffer: layer.recurrent, byteOffset: slot * recurrentPerSlot, bytes: recurrentPerSlot },
      { buffer: layer.conv, byteOffset: slot * convPerSlot, bytes: convPerSlot },
    ];
  }

  async #read({ buffer, byteOffset, bytes }: BufferBytes): Promise<Uint8Array<ArrayBuffer>> {
    if (bytes === 0) return new Uint8Array(0);
    const readback = new Readback(this.#gpu, 'save sequence', bytes);
    const encoder = this.#gpu.device.createCommandEncoder();
    readback.copyFrom(encoder, buffer, byteOffset, bytes);
    this.#gpu.device.queue.submit([encoder.finish()]);
    try {
      return new Uint8Array((await readback.floats(bytes)).buffer, 0, bytes);
    } finally {
      readback.destroy();
    }
  }
}
