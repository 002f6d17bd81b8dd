/**
 * What reaches the GPU, counted in front of WebGPU's own methods: a count of what a recording holds would miss what runs beside it.
 * Meanwhile every call costs a little more, so what is timed is not counted.
 */
export type Counts = { dispatches: number; submits: number };

type Method = (...args: unknown[]) => unknown;
type Methods = Record<string, Method>;

/** `counts` grows until `stop`. One at a time. */
export function countCalls(): { counts: Counts; stop(): void } {
  const counts: Counts = { dispatches: 0, submits: 0 };
  const pass = GPUComputePassEncoder.prototype as unknown as Methods;
  const queue = GPUQueue.prototype as unknown as Methods;
  const countDispatch = () => {
    counts.dispatches += 1;
  };
  const undo = [
    before(pass, 'dispatchWorkgroups', countDispatch),
    before(pass, 'dispatchWorkgroupsIndirect', countDispatch),
    before(queue, 'submit', (buffers) => {
      if ((buffers as readonly unknown[]).length > 0) counts.submits += 1; // an empty one only asks for news
    }),
  ];
  return {
    counts,
    stop: () => {
      for (const each of undo) each();
    },
  };
}

function before(methods: Methods, name: string, count: Method): () => void {
  const original = methods[name]!;
  methods[name] = function (this: unknown, ...args) {
    count(...args);
    return original.apply(this, args);
  };
  return () => {
    methods[name] = original;
  };
}
