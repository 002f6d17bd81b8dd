/** A fault put in on purpose, so that a test can see the doctor find it. */
import { EngineError } from '../errors';
import type { Gpu } from '../gpu/device';
import type { CheckId } from './report';

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

/** Shaders of the kernel that were compiled, and how many of them the fault changed. */
export type PlantTally = { compiled: number; changed: number };
export const noPlantYet = (): PlantTally => ({ compiled: 0, changed: 0 });

/** `gpu` with the fault in its kernels, if that is where it belongs; counts in `tally` what became of it. */
export function planted(gpu: Gpu, plant: Plant | undefined, tally = noPlantYet()): Gpu {
  return plant && 'kernel' in plant && canExchange(plant) ? withWrongKernel(gpu, plant, tally) : gpu;
}

/** Why a fault for kernels changed nothing: a check that passes with it proves nothing. Undefined where it did, or none was asked for. */
export function whyIdle(plant: Plant | undefined, { compiled, changed }: PlantTally): string | undefined {
  if (!plant || !('kernel' in plant) || changed > 0) return undefined;
  if (!canExchange(plant))
    return 'the fault was not put in: one built-in function, operator or number may stand in for another one, and nothing else';
  if (compiled === 0) return 'the planted fault changed nothing here: no kernel of that name was compiled';
  return `the planted fault changed nothing here: ${plant.kernel} has no '${plant.from}'`;
}

/** The checks that a fault can come into. */
export const plantableChecks = (plant: Plant): CheckId[] => ('kernel' in plant ? ['kernels', 'model', 'products'] : ['memory']);

/** The parameter of the address that asks for it. */
export const plantText = (plant: Plant): string =>
  'kernel' in plant ? `${plant.kernel},${plant.from},${plant.to}` : `lose-device,${plant.loseDeviceAtBytes}`;

type WrongKernel = Extract<Plant, { kernel: string }>;

const canExchange = ({ from, to }: WrongKernel): boolean =>
  from !== to && [from, to].every((word) => exchangeable.has(word) || /^\d{1,4}(?:\.\d{1,4})?f?$/.test(word));

/** `gpu` whose shader modules of one kernel are compiled from changed source. */
function withWrongKernel(gpu: Gpu, { kernel, from, to }: WrongKernel, tally: PlantTally): Gpu {
  const device = new Proxy(gpu.device, {
    get(target, name) {
      const value: unknown = Reflect.get(target, name, target);
      if (typeof value !== 'function') return value;
      if (name !== 'createShaderModule') return value.bind(target);
      return (descriptor: GPUShaderModuleDescriptor) => {
        if (descriptor.label?.split(' ')[0] !== kernel) return target.createShaderModule(descriptor);
        const code = descriptor.code.replaceAll(from, to);
        tally.compiled += 1;
        if (code !== descriptor.code) tally.changed += 1;
        return target.createShaderModule({ ...descriptor, code });
      };
    },
  });
  return { ...gpu, device, pipelines: new Map() };
}
