/** One parameter of a checkpoint: found by name, then checked against the shape that the config implies. */
import { EngineError } from '../errors';
import type {
  FloatDtype,
  MatrixSource,
  Quantization,
  QuantizationParams,
  TensorDirectory,
  TensorInfo,
  VectorSource,
} from './types';

/** The seam for further widths: what the kernels of this version unpack. */
const KERNEL_BITS = [2, 3, 4, 5, 6, 8];
const KERNEL_GROUP_SIZES = [32, 64, 128];
/** Float rows are read as vec4. */
const FLOAT_COLS_MULTIPLE = 4;
const FLOAT_DTYPES: readonly string[] = ['BF16', 'F16', 'F32'] satisfies FloatDtype[];

/** Where parameters are looked up. `prefixes`: spellings of the decoder's prefix that an override's path may use. */
export type Lookup = { directory: TensorDirectory; quantization: Quantization | undefined; prefixes: readonly string[] };

/** `module` [rows, cols], as `module.weight` alone or with `module.scales` and `module.biases`. */
export function describeMatrix(lookup: Lookup, module: string, rows: number, cols: number): MatrixSource {
  if (lookup.directory.has(`${module}.scales`)) return describeAffine(lookup, module, [rows], cols);
  return describeFloat(lookup, `${module}.weight`, [rows], cols);
}

/**
 * Matrices [rows, cols] that lie one behind the other in one tensor [count, rows, cols], as `describeMatrix` or, of original
 * repositories, under the module's own name. Gives one of them.
 */
export function describeStack(
  lookup: Lookup,
  module: string,
  count: number,
  rows: number,
  cols: number,
): (index: number) => MatrixSource {
  const named = lookup.directory.has(module) ? module : `${module}.weight`;
  const all = lookup.directory.has(`${module}.scales`)
    ? describeAffine(lookup, module, [count, rows], cols)
    : describeFloat(lookup, named, [count, rows], cols);
  return (index) => rowsOfMatrix(all, [{ firstRow: index * rows, rows }]);
}

/** A matrix of some rows of another one, in the order given. */
export function rowsOfMatrix(whole: MatrixSource, runs: readonly { firstRow: number; rows: number }[]): MatrixSource {
  const rows = runs.reduce((sum, run) => sum + run.rows, 0);
  return { ...whole, rows, runs: runs.map((run) => ({ ...run, tensorRows: whole.rows })) };
}

/** `rows`: their count, behind that of the matrices where the tensor holds several. */
function describeFloat(lookup: Lookup, name: string, rows: readonly number[], cols: number): MatrixSource {
  const weight = requireTensor(lookup, name, [...rows, cols]);
  requireShape(weight, [...rows, cols]);
  const dtype = requireFloat(weight);
  if (cols % FLOAT_COLS_MULTIPLE !== 0) {
    throw new EngineError('unsupported', `${weight.name} has rows of ${cols}; Sluice runs multiples of ${FLOAT_COLS_MULTIPLE}.`);
  }
  return { kind: 'float', rows: product(rows), cols, dtype, weight };
}

const product = (sizes: readonly number[]): number => sizes.reduce((a, b) => a * b, 1);

/** `add`: what to add to each stored value, see VectorSource. */
export function describeVector(lookup: Lookup, name: string, shape: readonly number[], add: 0 | 1): VectorSource {
  const tensor = requireTensor(lookup, name, shape);
  requireShape(tensor, shape);
  requireFloat(tensor);
  return { length: product(shape), tensor, add };
}

function describeAffine(lookup: Lookup, module: string, rows: readonly number[], cols: number): MatrixSource {
  const { bits, groupSize } = paramsOf(lookup, module);
  const weight = requireTensor(lookup, `${module}.weight`, [...rows, Math.floor((cols * bits) / 32)]);
  const unsupported = (what: string, runs: readonly number[]) =>
    new EngineError('unsupported', `${module} is quantised with ${what}; Sluice runs ${runs.join(', ')}.`);
  if (!KERNEL_GROUP_SIZES.includes(groupSize)) throw unsupported(`groups of ${groupSize}`, KERNEL_GROUP_SIZES);
  if (cols % groupSize !== 0) {
    throw new EngineError('unsupported', `${module} has rows of ${cols}, which its groups of ${groupSize} do not divide.`);
  }
  const groups = [...rows, cols / groupSize];
  requireShape(weight, [...rows, (cols * bits) / 32], ` (${bits}-bit, from config.json)`);
  if (weight.dtype !== 'U32') throw dtypeError(weight, 'U32');
  const scales = requireTensor(lookup, `${module}.scales`, groups);
  const biases = requireTensor(lookup, `${module}.biases`, groups);
  for (const tensor of [scales, biases]) requireShape(tensor, groups, ` (groups of ${groupSize}, from config.json)`);
  const dtype = requireFloat(scales);
  if (biases.dtype !== dtype) throw dtypeError(biases, `${dtype}, as the scales are`);
  // Last, so that a file that contradicts its config is called broken and not merely unsupported.
  if (!KERNEL_BITS.includes(bits)) throw unsupported(`${bits} bits`, KERNEL_BITS);
  return { kind: 'affine', rows: product(rows), cols, bits, groupSize, weight, scales, biases };
}

/** An override's path may carry any of the prefixes, or none, whatever the tensors themselves carry. */
function paramsOf({ quantization, prefixes }: Lookup, module: string): QuantizationParams {
  if (!quantization) throw new EngineError('format', `${module}.scales exists, but config.json has no 'quantization'.`);
  const prefix = prefixes.find((known) => module.startsWith(known)) ?? '';
  const bare = module.slice(prefix.length).replace(/^language_model\./, '');
  const override = [module, ...prefixes.map((known) => known + bare), `language_model.${bare}`, bare]
    .map((path) => quantization.overrides.get(path))
    .find((params) => params !== undefined);
  if (override === false)
    throw new EngineError('format', `${module}.scales exists, but config.json says that ${module} is not quantised.`);
  return override ?? quantization;
}

function requireTensor({ directory }: Lookup, name: string, shape: readonly number[]): TensorInfo {
  const tensor = directory.get(name);
  if (!tensor) throw new EngineError('format', `The checkpoint has no tensor ${name} (expected [${shape.join(', ')}]).`);
  return tensor;
}

function requireShape(tensor: TensorInfo, shape: readonly number[], why = ''): void {
  const same = tensor.shape.length === shape.length && shape.every((size, i) => tensor.shape[i] === size);
  if (!same) throw shapeError(tensor, shape, why);
}

export function shapeError(tensor: TensorInfo, shape: readonly number[], why = ''): EngineError {
  return new EngineError('format', `${tensor.name} is [${tensor.shape.join(', ')}]; expected [${shape.join(', ')}]${why}.`);
}

function requireFloat(tensor: TensorInfo): FloatDtype {
  if (!FLOAT_DTYPES.includes(tensor.dtype)) throw dtypeError(tensor, FLOAT_DTYPES.join(', '));
  return tensor.dtype as FloatDtype;
}

function dtypeError(tensor: TensorInfo, expected: string): EngineError {
  return new EngineError('format', `${tensor.name} [${tensor.shape.join(', ')}] is ${tensor.dtype}; expected ${expected}.`);
}
