import { EngineError } from '../errors';

const units: Record<string, number> = {
  '': 1,
  B: 1,
  KB: 1e3,
  MB: 1e6,
  GB: 1e9,
  TB: 1e12,
  KIB: 2 ** 10,
  MIB: 2 ** 20,
  GIB: 2 ** 30,
  TIB: 2 ** 40,
};

/** '4GB' = 4 * 10^9, '1.5GiB' = 1.5 * 2^30, a number = bytes. @throws EngineError 'invalid-request' naming `what`. */
export function parseBytes(what: string, value: number | string): number {
  const match = typeof value === 'string' ? /^\s*(\d+(?:\.\d+)?)\s*([KMGT]?I?B?)\s*$/i.exec(value) : undefined;
  const unit = match ? units[match[2]!.toUpperCase()] : undefined;
  const bytes = typeof value === 'number' ? value : match && unit ? Math.round(Number(match[1]) * unit) : Number.NaN;
  if (Number.isSafeInteger(bytes) && bytes > 0) return bytes;
  throw new EngineError(
    'invalid-request',
    `${what} is ${JSON.stringify(value)}; write bytes or a size such as '4GB' or '1.5GiB'.`,
  );
}

/** For messages: '3.21 GB' (10^9), '640 MB'. */
export function formatBytes(bytes: number): string {
  if (bytes >= 1e9) return `${(bytes / 1e9).toFixed(2)} GB`;
  if (bytes >= 1e6) return `${(bytes / 1e6).toFixed(1)} MB`;
  return `${bytes} bytes`;
}
