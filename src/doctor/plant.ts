/** A fault put in on purpose, so that a test can see the doctor find it. */
import { EngineError } from '../errors';
import type { Gpu } from '../gpu/device';

/** In the place of words that may be anybody's. */
export const unknown = '(unknown)';

/** What a fault may exchange. Compilers quote the source that they refuse, so nobody's own words may come into it. */
const exchangeable = new Set([
  ...[
    'inverseSqrt',
    'sqrt',
    'exp',
    'exp2',
    'log',
    'log2',
    'abs',
    'sign',
    'sin',
    'cos',
    'tanh',
    'min',
    'max',
    'floor',
    'ceil',
    'round',
  ],
  ...['fma', 'dot', 'select', 'unpack2x16float', 'pack2x16float', 'workgroupBarrier', 'subgroupAdd', 'subgroupMax'],
  ...['+', '-', '*', '/', '<', '>', '<=', '>=', '==', '!=', '&', '|', '<<', '>>', '+=', '-='],
]);

/** `from` becomes `to` in the source of one kernel; or the device is lost while so many bytes are held. */
export type Plant = { kernel: string; from: string; to: string } | { loseDeviceAtBytes: number };

/** `rms_norm,inverseSqrt,sqrt` or `lose-device,512MiB` in bytes: `lose-device,536870912`. @throws EngineError 'invalid-request' */
export function parsePlant(text: string): Plant {
  const [kernel, from, to] = text.split(',');
  if (kernel === 'lose-device' && Number(from) > 0) return { loseDeviceAtBytes: Number(from) };
  if (kernel && from && to !== undefined) return { kernel, from, to };
  throw new EngineError('invalid-request', `plant must be 'kernel,operation,other operation' or 'lose-device,bytes'.`);
}

export function describePlant(plant: Plant): string {
  if ('loseDeviceAtBytes' in plant) return `the device is destroyed at ${plant.loseDeviceAtBytes} bytes`;
  if (!canExchange(plant)) return unknown;
  return `${plant.kernel} with '${plant.to}' for '${plant.from}'`;
}

/** `gpu` with the fault in its kernels, if that is where it belongs. */
export function planted(gpu: Gpu, plant: Plant | undefined): Gpu {
  return plant && 'kernel' in plant && canExchange(plant) ? withWrongKernel(gpu, plant) : gpu;
}

const canExchange = ({ from, to }: Extract<Plant, { kernel: string }>): boolean =>
  [from, to].every((word) => exchangeable.has(word) || /^\d{1,4}(?:\.\d{1,4})?f?$/.test(word));

/** `gpu` whose shader modules of one kernel are compiled from changed source. */
function withWrongKernel(gpu: Gpu, { kernel, from, to }: Extract<Plant, { kernel: string }>): Gpu {
  const device = new Proxy(gpu.device, {
    get(target, name) {
      const value: unknown = Reflect.get(target, name, target);
      if (typeof value !== 'function') return value;
      if (name !== 'createShaderModule') return value.bind(target);
      return (descriptor: GPUShaderModuleDescriptor) => {
        const own = descriptor.label?.split(' ')[0] === kernel;
        const code = own ? descriptor.code.replaceAll(from, to) : descriptor.code;
        return target.createShaderModule({ ...descriptor, code });
      };
    },
  });
  return { ...gpu, device, pipelines: new Map() };
}
