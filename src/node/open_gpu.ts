/**
 * WebGPU in Node through Dawn. With no GPU it falls back to a software Vulkan driver (SwiftShader, as Chromium ships it)
 * and says so through `adapter.isCpu`.
 */
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { EngineError } from '../errors';
import { type Gpu, openGpu } from '../gpu/device';

const keepAlive: GPU[] = [];
(globalThis as { sluiceDawn?: GPU[] }).sluiceDawn = keepAlive;

type Dawn = { create(flags: string[]): GPU; globals: Record<string, unknown> };

const softwareDrivers = [
  '/usr/lib/chromium/vk_swiftshader_icd.json',
  '/usr/lib/chromium-browser/vk_swiftshader_icd.json',
  '/opt/google/chrome/vk_swiftshader_icd.json',
];

export type NodeGpuOptions = NonNullable<Parameters<typeof openGpu>[1]> & { dawnFlags?: string[] };

/**
 * Opens Dawn's best adapter. `dawnFlags` are Dawn toggles, e.g. `enable-dawn-features=vulkan_enable_f16_on_nvidia`.
 * @throws EngineError 'unsupported' if neither a GPU nor a software driver is found.
 */
export async function openNodeGpu(options: NodeGpuOptions = {}): Promise<Gpu> {
  const { create, globals } = loadDawn();
  process.env.XDG_RUNTIME_DIR ??= '/tmp'; // Vulkan's loader complains without one
  Object.assign(globalThis, globals);
  const open = async () => {
    const dawn = create(options.dawnFlags ?? []);
    // Dawn's mutexes live in this object: if it is garbage-collected the process dies at a random place.
    keepAlive.push(dawn);
    const gpu = await openGpu(dawn, options);
    spacePolls(gpu.adapter.isCpu);
    return gpu;
  };
  const driver = softwareDrivers.find(existsSync);
  const chosen = process.env.VK_ICD_FILENAMES ?? process.env.VK_DRIVER_FILES;
  if (driver && !chosen && !mayHaveGpu()) process.env.VK_ICD_FILENAMES = driver; // asking other drivers first only gives warnings
  try {
    return await open();
  } catch (error) {
    if (!(error instanceof EngineError) || error.code !== 'unsupported' || !driver || chosen) throw error;
    process.env.VK_ICD_FILENAMES = driver;
    return open();
  }
}

/** Between two questions of Dawn whether something is done, in milliseconds; a software adapter computes on the cores that ask. */
const pollMs = { cpu: 1, gpu: 0.016 };
let spacesPolls = false;
let anyCpu = false;

/**
 * While anything is awaited Dawn asks for it in every turn of the event loop, through `setImmediate` and a function made for it. A loop that
 * has nothing else to do so asks every microsecond or two, and what that leaves behind is collected in pauses of 30 ms every hundred
 * tokens or so, in which a GPU runs dry. So Dawn, whose callbacks are native functions, waits in between: on a GPU so shortly that it
 * is waited for actively, on a software adapter in a timer.
 */
function spacePolls(isCpu: boolean): void {
  anyCpu ||= isCpu;
  if (spacesPolls) return;
  spacesPolls = true;
  const { setImmediate, setTimeout } = globalThis;
  const now = performance.now.bind(performance); // the real one, whatever a test puts in its place
  const asksDawn = (run: unknown, args: unknown[]) =>
    args.length === 0 && /\[native code\]/.test(Function.prototype.toString.call(run));
  let asked = 0;
  const space = (run: () => void, ...args: []) => {
    if (!asksDawn(run, args)) return setImmediate(run, ...args);
    if (anyCpu) return setTimeout(run, pollMs.cpu);
    while (now() - asked < pollMs.gpu); // no time where other work came between
    asked = now();
    return setImmediate(run);
  };
  globalThis.setImmediate = Object.assign(space, setImmediate) as unknown as typeof setImmediate;
}

function mayHaveGpu(): boolean {
  return process.platform !== 'linux' || ['/dev/dri', '/dev/nvidiactl', '/dev/nvidia0', '/dev/dxg'].some(existsSync);
}

/** Says so on stderr where there is no GPU. */
export function reportSoftware({ adapter }: Gpu): void {
  if (adapter.isCpu)
    console.error(`No GPU found; running on ${adapter.architecture || 'a software adapter'}, whose speed means nothing.`);
}

/** dawn.node beside this file (the one-file command line), from SLUICE_DAWN, or from the npm package `webgpu`. */
function loadDawn(): Dawn {
  const require = createRequire(import.meta.url);
  const beside = join(dirname(fileURLToPath(import.meta.url)), 'dawn.node');
  const path = process.env.SLUICE_DAWN ?? (existsSync(beside) ? beside : undefined);
  try {
    return require(
      path ??
        join(
          dirname(require.resolve('webgpu/package.json')),
          'dist',
          `${process.platform}-${process.platform === 'darwin' ? 'universal' : process.arch}`,
          'dawn.node',
        ),
    ) as Dawn;
  } catch (cause) {
    throw new EngineError(
      'unsupported',
      `Dawn for Node could not be loaded (${(cause as Error).message.split('\n')[0]}). Run npm ci, put dawn.node beside this file, or set SLUICE_DAWN to its path.`,
      { cause },
    );
  }
}
