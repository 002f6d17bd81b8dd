/**
 * Gives the memory of an array back at once, where the browser can. A collector that sees only small objects come and go may leave a
 * large one where it is for minutes. Nobody may use the array afterwards.
 */
export function freeBuffer({ buffer }: Uint8Array): void {
  (buffer as { transfer?(byteLength: number): ArrayBuffer }).transfer?.(0);
}
