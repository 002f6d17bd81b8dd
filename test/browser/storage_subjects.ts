/** The byte sources that only a browser has, as subjects of the contract, and a run that a page or a worker can report. */
import { blobSource } from '../../src/storage/blob';
import { openFileHandle, openSyncHandle } from '../../src/storage/opfs';
import { byteSourceContract, type Subject } from '../storage/contract';

/** `failure` undefined: passed. `notApplicable`: the subject cannot be brought into the state that the case needs. */
export type ContractRow = { subject: string; name: string; failure?: string; notApplicable?: boolean };

type Bytes = Uint8Array<ArrayBuffer>;

let count = 0;

async function newFile(bytes: Bytes): Promise<FileSystemFileHandle> {
  const root = await navigator.storage.getDirectory();
  // A name per realm: page and workers run at the same time in one OPFS.
  const handle = await root.getFileHandle(`contract-${self.name || 'page'}-${count++}`, { create: true });
  await write(handle, bytes);
  return handle;
}

async function write(handle: FileSystemFileHandle, bytes: Bytes): Promise<void> {
  const stream = await handle.createWritable();
  await stream.write(bytes);
  await stream.close();
}

/** A Blob whose slices come back short, as when the file under it was cut. */
function cut(blob: Blob, bytes: Bytes, length: number): Blob {
  blob.slice = (start = 0, end = bytes.byteLength) => new Blob([bytes.subarray(start, Math.min(end, length))]);
  return blob;
}

export const anywhere: Record<string, Subject> = {
  Blob: {
    open: async (bytes) => blobSource(new Blob([bytes])),
    openTruncated: async (bytes, length) => blobSource(cut(new Blob([bytes]), bytes, length)),
  },
  File: {
    open: async (bytes) => blobSource(new File([bytes], 'model.safetensors')),
    openTruncated: async (bytes, length) => blobSource(cut(new File([bytes], 'model.safetensors'), bytes, length)),
  },
  'OPFS file handle': {
    open: async (bytes) => openFileHandle(await newFile(bytes)),
    async openTruncated(bytes, length) {
      const handle = await newFile(bytes);
      const source = await openFileHandle(handle);
      await write(handle, bytes.subarray(0, length));
      return source;
    },
  },
};

/** No `openTruncated`: while the handle is open nobody else can write to the file. */
export const inWorkersOnly: Record<string, Subject> = {
  'OPFS sync access handle': { open: async (bytes) => openSyncHandle(await newFile(bytes)) },
};

export async function runContract(subjects: Record<string, Subject>, where: string): Promise<ContractRow[]> {
  const rows: ContractRow[] = [];
  for (const [subject, source] of Object.entries(subjects)) {
    for (const { name, needs, run } of byteSourceContract) {
      const outcome = needs && !source[needs] ? { notApplicable: true } : await outcomeOf(run(source));
      rows.push({ subject: `${subject} ${where}`, name, ...outcome });
    }
  }
  return rows;
}

function outcomeOf(run: Promise<void>): Promise<{ failure?: string }> {
  return run.then(
    () => ({}),
    (error: unknown) => ({ failure: String(error) }),
  );
}
