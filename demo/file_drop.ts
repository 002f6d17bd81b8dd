/** Dropped anywhere on the page: a model folder, or its files; any other files go along with the message. */

export function setUpFileDrop(
  onModel: (files: File[], folderName: string | undefined) => void,
  onFiles: (files: File[]) => void,
): void {
  let depth = 0; // dragenter and dragleave come for every element on the way
  const setDepth = (next: number) => {
    depth = Math.max(0, next);
    document.body.toggleAttribute('data-dropping', depth > 0);
  };
  document.addEventListener('dragenter', (event) => {
    if (hasFiles(event)) setDepth(depth + 1);
  });
  document.addEventListener('dragleave', (event) => {
    if (hasFiles(event)) setDepth(depth - 1);
  });
  document.addEventListener('dragover', (event) => {
    if (hasFiles(event)) event.preventDefault(); // else the browser would leave the page for the file
  });
  document.addEventListener('drop', (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    setDepth(0);
    void readDrop(event.dataTransfer!).then(({ files, folderName }) => {
      if (folderName !== undefined || files.some(isOfModel)) onModel(files, folderName);
      else onFiles(files);
    });
  });
}

function isOfModel({ name }: File): boolean {
  return name.endsWith('.safetensors') || name === 'tokenizer.json';
}

function hasFiles(event: DragEvent): boolean {
  return event.dataTransfer?.types.includes('Files') ?? false;
}

/** The entries must be taken during the event; the list of a folder is read after it. */
async function readDrop(transfer: DataTransfer): Promise<{ files: File[]; folderName: string | undefined }> {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry());
  const folder = entries.find((entry) => entry?.isDirectory) as FileSystemDirectoryEntry | undefined;
  if (!folder) return { files: [...transfer.files], folderName: undefined };
  try {
    return { files: await filesOf(folder), folderName: folder.name };
  } catch (error) {
    if (!(error instanceof DOMException)) throw error;
    return { files: [], folderName: folder.name }; // unreadable: the picker then says what is missing, and how else to choose
  }
}

/** The files directly in the folder. One call lists at most 100 entries in Chrome; an empty answer is the end. */
async function filesOf(folder: FileSystemDirectoryEntry): Promise<File[]> {
  const reader = folder.createReader();
  const files: Promise<File>[] = [];
  for (;;) {
    const entries = await new Promise<FileSystemEntry[]>((resolve, reject) => reader.readEntries(resolve, reject));
    if (entries.length === 0) return Promise.all(files);
    for (const entry of entries) if (entry.isFile) files.push(fileOf(entry as FileSystemFileEntry));
  }
}

function fileOf(entry: FileSystemFileEntry): Promise<File> {
  return new Promise((resolve, reject) => entry.file(resolve, reject));
}
