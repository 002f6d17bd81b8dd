/** The smallest WebAssembly module: its magic and its version. */
const EMPTY_MODULE = Uint8Array.of(0, 0x61, 0x73, 0x6d, 1, 0, 0, 0);

let allowed: boolean | undefined;

/** Whether this thread may compile WebAssembly: a Content-Security-Policy without 'wasm-unsafe-eval' forbids it, Lockdown Mode too. */
export function wasmAllowed(): boolean {
  allowed ??= compiles();
  return allowed;
}

function compiles(): boolean {
  try {
    new WebAssembly.Module(EMPTY_MODULE);
    return true;
  } catch {
    return false;
  }
}
