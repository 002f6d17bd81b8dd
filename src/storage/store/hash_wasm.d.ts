/** A part of hash-wasm by itself: its index holds all that anybody asks of it. */
declare module 'hash-wasm/dist/sha256.umd.min.js' {
  const library: Pick<typeof import('hash-wasm'), 'createSHA256'>;
  export default library;
}
