/**
 * Imported before the engine in its worker: adds up what its thread spends in calls that may take long. 'take' on the channel 'worker
 * clock' is answered with {spent}: since the last time, for each kind of call, milliseconds and times. What is missing to the wall clock is
 * the engine's own code, or waiting.
 */
let sums = {};
const add = (name, ms) => {
  sums[name] ??= { ms: 0, n: 0 };
  const sum = sums[name];
  sum.ms += ms;
  sum.n += 1;
};
const mapped = new WeakSet();
function around(type, name, nameOf) {
  const inner = type.prototype[name];
  type.prototype[name] = function (...args) {
    const started = performance.now();
    const result = inner.apply(this, args);
    add(typeof nameOf === 'string' ? nameOf : nameOf(args, result), performance.now() - started);
    return result;
  };
}
around(FileSystemSyncAccessHandle, 'read', ([into]) => {
  const where = mapped.has(into.buffer) ? 'read into staging' : 'read into memory';
  return into.byteLength < 2 ** 20 ? `${where}, < 1 MiB` : where;
});
around(GPUBuffer, 'getMappedRange', (_, range) => {
  mapped.add(range);
  return 'getMappedRange';
});
around(GPUBuffer, 'unmap', 'unmap');
around(GPUQueue, 'submit', 'submit');
around(GPUDevice, 'createCommandEncoder', 'createCommandEncoder');
around(GPUCommandEncoder, 'finish', 'finish');
const set = Uint8Array.prototype.set;
Uint8Array.prototype.set = function (from, at) {
  if (!mapped.has(this.buffer)) return set.call(this, from, at);
  const started = performance.now();
  set.call(this, from, at);
  add('copy into staging', performance.now() - started);
};
around(MessagePort, 'postMessage', 'postMessage (turns of the event loop)');
// The ring is empty while every buffer that was ever asked for is being asked for: nothing can be read into then.
const buffers = new WeakSet();
let known = 0;
let away = 0;
let emptySince;
const mapAsync = GPUBuffer.prototype.mapAsync;
GPUBuffer.prototype.mapAsync = function (mode, ...range) {
  const started = performance.now();
  const promise = mapAsync.call(this, mode, ...range);
  const called = performance.now();
  add('mapAsync', called - started);
  if (mode !== GPUMapMode.WRITE) return promise;
  if (!buffers.has(this)) known += 1;
  buffers.add(this);
  away += 1;
  if (away === known) emptySince = called;
  const back = () => {
    const now = performance.now();
    if (away === known && emptySince !== undefined) add('all staging away', now - emptySince);
    emptySince = undefined;
    away -= 1;
    add('until mapped again', now - called);
  };
  promise.then(back, back);
  return promise;
};
const channel = new BroadcastChannel('worker clock');
channel.onmessage = () => {
  channel.postMessage({ spent: sums });
  sums = {};
};
