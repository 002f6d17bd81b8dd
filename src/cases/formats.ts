import type { MatrixFormat, StorageDtype } from '../format/types';

type AffineFormat<Bits extends number> = { kind: 'affine'; bits: Bits; group: number; pair: StorageDtype };

export const affine = <Bits extends number>(bits: Bits, group: number, pair: StorageDtype): AffineFormat<Bits> => ({
  kind: 'affine',
  bits,
  group,
  pair,
});
export const q3 = (group: number, pair: StorageDtype) => affine(3, group, pair);
export const q4 = (group: number, pair: StorageDtype) => affine(4, group, pair);
export const bf16: MatrixFormat = { kind: 'float', dtype: 'bf16' };
export const f16: MatrixFormat = { kind: 'float', dtype: 'f16' };
export const f32: MatrixFormat = { kind: 'float', dtype: 'f32' };

export const describeFormat = (format: MatrixFormat): string =>
  format.kind === 'float' ? format.dtype : `q${format.bits} g${format.group} ${format.pair}`;
