/**
 * What this browser gives at best, in a worker and on a device of its own: loops with nothing else in them, which the engine's figures
 * are held against. Message {bytes, pieceBytes, buffers} -> {read, upload, through, untouched}, GB/s of one pass over a file in OPFS: from
 * disk cache to memory, from memory to a GPU buffer through mapped staging, both in one (a read straight into the staging), and staging
 * that nobody writes to: what the browser's own side of it takes.
 */
const targetBytes = 64 * 2 ** 20;
const fileName = 'bare-loops';
let opened;

async function open(bytes) {
  const adapter = await navigator.gpu.requestAdapter({ powerPreference: 'high-performance' });
  const device = await adapter.requestDevice();
  const target = device.createBuffer({ size: targetBytes, usage: GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST });
  const root = await navigator.storage.getDirectory();
  const handle = await root.getFileHandle(fileName, { create: true });
  const file = await handle.createSyncAccessHandle({ mode: 'readwrite-unsafe' });
  const piece = Uint8Array.from({ length: 4 * 2 ** 20 }, (_, i) => Math.imul(i, 2_654_435_761) >>> 24);
  for (let at = file.getSize(); at < bytes; at += piece.byteLength) file.write(piece, { at });
  return { device, target, file };
}

async function measure({ bytes, pieceBytes, buffers }) {
  opened ??= await open(bytes);
  const { file } = opened;
  const memory = new Uint8Array(pieceBytes);
  const rate = async (loop) => {
    const started = performance.now();
    await loop();
    return (Math.floor(bytes / pieceBytes) * pieceBytes) / (performance.now() - started) / 1e6;
  };
  const eachPiece = async (visit) => {
    for (let at = 0; at + pieceBytes <= bytes; at += pieceBytes) await visit(at);
  };
  const ring = mappedRing(pieceBytes, buffers);
  await ring.pass(eachPiece, (into, at) => at === 0 && into.fill(1)); // the first pass allocates
  const result = {
    read: await rate(() => eachPiece((at) => file.read(memory, { at }))),
    upload: await rate(() => ring.pass(eachPiece, (into) => into.set(memory))),
    through: await rate(() => ring.pass(eachPiece, (into, at) => file.read(into, { at }))),
    untouched: await rate(() => ring.pass(eachPiece, () => {})),
  };
  ring.destroy();
  return result;
}

function mappedRing(pieceBytes, count) {
  const { device, target } = opened;
  const usage = GPUBufferUsage.MAP_WRITE | GPUBufferUsage.COPY_SRC;
  const slots = Array.from({ length: count }, () => {
    const buffer = device.createBuffer({ size: pieceBytes, usage });
    return { buffer, mapped: buffer.mapAsync(GPUMapMode.WRITE) };
  });
  let next = 0;
  const send = async (at, fill) => {
    const slot = slots[next++ % count];
    await slot.mapped;
    fill(new Uint8Array(slot.buffer.getMappedRange()), at);
    slot.buffer.unmap();
    const encoder = device.createCommandEncoder();
    encoder.copyBufferToBuffer(slot.buffer, 0, target, (at % (targetBytes - pieceBytes)) & ~3, pieceBytes);
    device.queue.submit([encoder.finish()]);
    slot.mapped = slot.buffer.mapAsync(GPUMapMode.WRITE);
  };
  return {
    async pass(eachPiece, fill) {
      await eachPiece((at) => send(at, fill));
      await Promise.all(slots.map(({ mapped }) => mapped));
    },
    destroy() {
      for (const { buffer } of slots) buffer.destroy();
    },
  };
}

self.onmessage = ({ data }) => {
  measure(data).then(
    (result) => self.postMessage({ result }),
    (error) => self.postMessage({ error: `${error.name}: ${error.message}` }),
  );
};
