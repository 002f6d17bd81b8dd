import { EngineError } from '../errors';
import { GpuMemory } from './memory';

export type DisabledFeature = 'subgroups' | 'f16';

export type AdapterFacts = {
  vendor: string;
  architecture: string;
  description: string;
  /** A software adapter: its speed says nothing about a GPU's. */
  isCpu: boolean;
  features: string[];
  limits: Record<string, number>;
};

/** One opened device with what kernels need to know about it. */
export type Gpu = {
  device: GPUDevice;
  memory: GpuMemory;
  adapter: AdapterFacts;
  /** Capabilities that kernels may use: present on the device and not disabled by the caller. */
  subgroups: boolean;
  f16: boolean;
  /** WGSL has dot products of packed int8 (a language feature, nothing to request). Whether they are fast is another question. */
  int8Dot: boolean;
  /** Lanes that a subgroup may have; undefined where the implementation does not say. */
  subgroupSizes: { min: number; max: number } | undefined;
  /**
   * Use the kernel variants without workgroup memory and barriers: true on CPU adapters, which run a workgroup on one thread.
   */
  direct: boolean;
  /** `info` is set when the device is lost or destroyed: not every implementation rejects what was pending. */
  loss: { info: GPUDeviceLostInfo | undefined };
  /** Compiled pipelines by source and constants; filled by createKernel. */
  pipelines: Map<string, Promise<GPUComputePipeline>>;
  layouts: Map<string, GPUBindGroupLayout>;
};

/** Limits worth raising from the defaults; nothing is raised unless asked for. */
const wantedLimits = [
  'maxBufferSize',
  'maxStorageBufferBindingSize',
  'maxStorageBuffersPerShaderStage',
  'maxComputeWorkgroupStorageSize',
  'maxComputeInvocationsPerWorkgroup',
  'maxComputeWorkgroupSizeX',
] as const;

/** What every kernel relies on; WebGPU's own defaults, so only a broken implementation offers less. */
const neededLimits: Partial<Record<(typeof wantedLimits)[number] | 'maxComputeWorkgroupsPerDimension', number>> = {
  maxStorageBuffersPerShaderStage: 8,
  maxComputeWorkgroupStorageSize: 16384,
  maxComputeInvocationsPerWorkgroup: 256,
  maxStorageBufferBindingSize: 128 * 1024 * 1024,
  maxComputeWorkgroupsPerDimension: 65535,
};

const reportedLimits = [
  ...wantedLimits,
  'maxComputeWorkgroupsPerDimension',
  'minUniformBufferOffsetAlignment',
  'minStorageBufferOffsetAlignment',
] as const;

/**
 * Opens the best adapter with its full limits and the optional features Sluice knows. `direct` overrides the choice of
 * variants by adapter, so that tests can run a GPU's kernels on a CPU adapter. `timestamps`: with the GPU's own clock where the adapter has
 * one, for profiles alone, because asking for it can slow a device.
 * @throws EngineError 'unsupported' if there is no WebGPU, no adapter, or a limit below WebGPU's defaults.
 */
export async function openGpu(
  gpu: GPU | undefined,
  options: { disable?: readonly DisabledFeature[]; direct?: boolean; timestamps?: boolean } = {},
): Promise<Gpu> {
  if (!gpu) {
    throw new EngineError(
      'unsupported',
      'This browser has no WebGPU here. Use Chrome or Edge 121+, Safari 26+ or Firefox 147+ on a page served over https or from localhost.',
    );
  }
  const adapter = await gpu.requestAdapter({ powerPreference: 'high-performance' });
  if (!adapter) {
    throw new EngineError(
      'unsupported',
      'The browser offers no GPU adapter. Check that hardware acceleration is on and that the GPU driver is not blocked.',
    );
  }
  const disabled = new Set(options.disable ?? []);
  const subgroups = adapter.features.has('subgroups') && !disabled.has('subgroups');
  const f16 = adapter.features.has('shader-f16') && !disabled.has('f16');
  const requiredFeatures: GPUFeatureName[] = [];
  if (subgroups) requiredFeatures.push('subgroups' as GPUFeatureName);
  if (f16) requiredFeatures.push('shader-f16');
  if (options.timestamps && adapter.features.has('timestamp-query')) requiredFeatures.push('timestamp-query');
  for (const [name, least] of Object.entries(neededLimits)) {
    const has = adapter.limits[name as keyof GPUSupportedLimits] as number;
    if (has < least)
      throw new EngineError(
        'unsupported',
        `The GPU adapter's ${name} is ${has}; Sluice needs ${least}. Another browser or a newer GPU driver may offer more.`,
      );
  }
  const requiredLimits = Object.fromEntries(wantedLimits.map((name) => [name, adapter.limits[name]]));
  const device = await adapter.requestDevice({ label: 'sluice', requiredFeatures, requiredLimits }).catch((cause: Error) => {
    throw new EngineError(
      'unsupported',
      `The GPU adapter gives no device: ${cause.message}. Reload the page or restart the browser.`,
      { cause },
    );
  });
  const facts = describe(adapter, device);
  const opened: Gpu = {
    device,
    memory: new GpuMemory(device),
    adapter: facts,
    subgroups,
    f16,
    int8Dot: gpu.wgslLanguageFeatures?.has('packed_4x8_integer_dot_product') ?? false,
    subgroupSizes: subgroupSizes(adapter),
    direct: options.direct ?? facts.isCpu,
    loss: { info: undefined },
    pipelines: new Map(),
    layouts: new Map(),
  };
  void device.lost.then((info) => {
    opened.loss.info = info;
  });
  return opened;
}

function subgroupSizes({ info }: GPUAdapter): Gpu['subgroupSizes'] {
  const { subgroupMinSize: min, subgroupMaxSize: max } = info;
  return min && max ? { min, max } : undefined;
}

function describe(adapter: GPUAdapter, device: GPUDevice): AdapterFacts {
  const { vendor, architecture, description } = adapter.info;
  const software = /swiftshader|llvmpipe|software|basic render/i;
  const fallback = (adapter.info as { isFallbackAdapter?: boolean }).isFallbackAdapter === true;
  return {
    vendor,
    architecture,
    description,
    isCpu: fallback || software.test(`${vendor} ${architecture} ${description} ${adapter.info.device}`),
    features: [...adapter.features].sort(),
    limits: Object.fromEntries(reportedLimits.map((name) => [name, device.limits[name] as number])),
  };
}
