/**
 * Everything that this side waits for the GPU for, recorded in front of WebGPU's own methods: what it was that was waited for, and what
 * the GPU still had to do behind it. A promise that nobody awaits before it is fulfilled is no wait.
 */

/** `behind`: submits of compute that the GPU had left when something waited for the end of those before them. */
export type DoneWait = { of: 'compute'; behind: number } | { of: 'upload'; pending: number };
/** `copied`: bytes were copied from a buffer mapped for writing, or into one mapped for reading, since its last mapping. */
export type MapWait = { label: string; mode: 'read' | 'write'; copied: boolean };
export type Waits = { done: DoneWait[]; maps: MapWait[]; others: string[]; computeSubmits: number };

/** A promise that says when somebody waits for it while it is pending; what only hears of its failure waits for nothing. */
class Watched extends Promise<undefined> {
  static override get [Symbol.species]() {
    return Promise;
  }
  fulfilled = false;
  onWait: () => void = () => {};

  // biome-ignore lint/suspicious/noThenProperty: `await` and Promise.all come here, which is how a wait is seen
  override then<A = undefined, B = never>(
    onFulfilled?: ((value: undefined) => A | PromiseLike<A>) | null,
    onRejected?: ((reason: unknown) => B | PromiseLike<B>) | null,
  ): Promise<A | B> {
    if (onFulfilled && !this.fulfilled) this.onWait();
    return super.then(onFulfilled, onRejected);
  }
}

/** Records until `stop`. `lateMs`: how much later compute is said to be done than it was, so that no wait is spared by luck. */
export function watchWaits(lateMs: number): { waits: Waits; stop(): void } {
  const waits: Waits = { done: [], maps: [], others: [], computeSubmits: 0 };
  const copies = new WeakMap<GPUCommandEncoder, GPUBuffer[]>();
  const recorded = new WeakMap<GPUCommandBuffer, { label: string; buffers: readonly GPUBuffer[] }>();
  const copied = new WeakSet<GPUBuffer>();
  let last: DoneWait['of'] = 'compute';
  let uploads = 0;
  let stopped = false;

  const onDone = (said: Promise<undefined>): Promise<undefined> => {
    const of = last;
    const before = waits.computeSubmits;
    if (of === 'upload') uploads += 1;
    const late = said.then(() => new Promise<void>((resolve) => setTimeout(resolve, of === 'compute' ? lateMs : 0)));
    const watched = new Watched((resolve, reject) => late.then(() => resolve(undefined), reject));
    watched.onWait = () => {
      if (stopped) return; // submits are not counted any more
      waits.done.push(of === 'compute' ? { of, behind: waits.computeSubmits - before } : { of, pending: uploads });
    };
    void late.then(() => {
      watched.fulfilled = true;
      if (of === 'upload') uploads -= 1;
    });
    return watched;
  };

  const stops = [
    around(GPUQueue.prototype, 'submit', (submit, _, commands) => {
      const all = [...commands].map((each) => recorded.get(each));
      last = all.some((each) => each && each.label !== 'upload') ? 'compute' : 'upload'; // an empty one sends a write on its way
      if (last === 'compute') waits.computeSubmits += 1;
      for (const each of all) for (const buffer of each?.buffers ?? []) copied.add(buffer);
      return submit(commands);
    }),
    around(GPUQueue.prototype, 'onSubmittedWorkDone', (done) => onDone(done())),
    around(GPUCommandEncoder.prototype, 'copyBufferToBuffer', (copy, encoder, ...rest) => {
      const buffers = (rest as unknown[]).filter((each) => each instanceof GPUBuffer);
      copies.set(encoder, [...(copies.get(encoder) ?? []), ...buffers]);
      return copy(...rest);
    }),
    around(GPUCommandEncoder.prototype, 'finish', (finish, encoder, ...rest) => {
      const commands = finish(...rest);
      recorded.set(commands, { label: encoder.label, buffers: copies.get(encoder) ?? [] });
      return commands;
    }),
    around(GPUBuffer.prototype, 'mapAsync', (map, buffer, mode, ...rest) => {
      const way = mode === GPUMapMode.READ ? 'read' : 'write';
      waits.maps.push({ label: buffer.label, mode: way, copied: copied.delete(buffer) });
      return map(mode, ...rest);
    }),
    ...(['popErrorScope', 'createComputePipelineAsync'] as const).map((name) => other(name)),
  ];
  function other(name: 'popErrorScope' | 'createComputePipelineAsync') {
    return around(GPUDevice.prototype, name, (call, _, ...rest) => {
      waits.others.push(name);
      return Reflect.apply(call, undefined, rest);
    });
  }
  const stop = () => {
    stopped = true;
    for (const each of stops) each();
  };
  return { waits, stop };
}

type Call<T, N extends keyof T> = T[N] extends (...args: infer A) => infer R ? (...args: A) => R : never;

/** Puts `replacement`, which gets the original bound to its object, in a method's place. A spy would look at what is returned. */
export function around<T extends object, N extends keyof T>(
  methods: T,
  name: N,
  replacement: (original: Call<T, N>, object: T, ...args: Parameters<Call<T, N>>) => ReturnType<Call<T, N>>,
): () => void {
  const original = methods[name] as (...args: unknown[]) => unknown;
  const put = (method: unknown) => Object.assign(methods, { [name]: method });
  put(function (this: T, ...args: Parameters<Call<T, N>>) {
    return replacement(original.bind(this) as Call<T, N>, this, ...args);
  });
  return () => put(original);
}
