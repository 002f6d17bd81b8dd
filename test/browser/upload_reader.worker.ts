/** A thread of the upload measurement that only reads: buffers come with an offset, go back filled, and belong to one side at a time. */
export type ReaderStart = { file: string; port: MessagePort };
export type ReaderPiece = { at: number; buffer: ArrayBuffer };

type File = { read(into: Uint8Array<ArrayBuffer>, options: { at: number }): number; close(): void };
type FileHandle = FileSystemFileHandle & { createSyncAccessHandle(options: { mode: string }): Promise<File> };

self.onmessage = async ({ data: { file: name, port } }: MessageEvent<ReaderStart>) => {
  const root = await navigator.storage.getDirectory();
  let file: File | undefined;
  port.onmessage = async ({ data }: MessageEvent<ReaderPiece | 'open' | 'close'>) => {
    if (data === 'open') {
      file = await ((await root.getFileHandle(name)) as FileHandle).createSyncAccessHandle({ mode: 'readwrite-unsafe' });
    } else if (data === 'close') {
      file?.close();
    } else {
      const { at, buffer } = data;
      const count = file!.read(new Uint8Array(buffer), { at });
      if (count !== buffer.byteLength) throw new Error(`read ${count} of ${buffer.byteLength} bytes at ${at}`);
      port.postMessage({ at, buffer }, [buffer]);
      return;
    }
    port.postMessage(data);
  };
};
