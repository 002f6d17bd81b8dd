/** Models kept in the browser's private file system. */
export type StoredModel = {
  id: string;
  /** What the user asked for: 'owner/name' or a URL without its query. */
  model: string;
  revision: string | undefined;
  /** Bytes on disk now, and when complete. */
  storedBytes: number;
  totalBytes: number;
  complete: boolean;
  /** 'hub': every file's sha256 matched the hub's; 'partial': vision or mtp tensors were skipped, so it could not be compared. */
  verified: 'hub' | 'partial' | 'unknown';
  createdAt: number;
  lastUsedAt: number;
  /** Another tab or engine has it open or is downloading it. */
  inUse: boolean;
};
