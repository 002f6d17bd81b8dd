/** What adapter and device say about themselves, whole. */
import type { Context, Outcome } from '../context';
import type { DeviceFacts } from '../report';

export async function checkDevice(context: Context): Promise<Outcome<DeviceFacts>> {
  const gpu = await context.gpu();
  const adapter = await navigator.gpu.requestAdapter({ powerPreference: 'high-performance' });
  const plain = await adapter?.requestDevice();
  const { vendor, architecture, description, isCpu, features } = gpu.adapter;
  const facts: DeviceFacts = {
    ...{ vendor, architecture, description, isCpu, features },
    device: adapter?.info.device ?? '',
    subgroupSizes: gpu.subgroupSizes,
    subgroups: gpu.subgroups,
    f16: gpu.f16,
    int8Dot: gpu.int8Dot,
    limits: adapter ? allLimits(adapter.limits) : gpu.adapter.limits,
    defaultLimits: plain ? allLimits(plain.limits) : {},
  };
  plain?.destroy();
  const name = description || [vendor, architecture].filter(Boolean).join(' ') || 'a GPU without a name';
  if (isCpu) return { status: 'noted', summary: `${name}: a software adapter, so nothing here tells about speed.`, facts };
  if (!gpu.subgroups && features.includes('subgroups'))
    return { status: 'noted', summary: `${name}. Its subgroups do not reduce as they should; Sluice leaves them unused.`, facts };
  const uses = [gpu.subgroups && 'subgroups', gpu.f16 && 'f16', gpu.int8Dot && 'int8 dot products'].filter(Boolean);
  return {
    status: 'passed',
    summary: `${name}, ${uses.length > 0 ? `with ${uses.join(', ')}` : 'with WebGPU’s own features'}.`,
    facts,
  };
}

/** The names are getters of the prototype, so spreading finds none. */
function allLimits(limits: GPUSupportedLimits): Record<string, number> {
  const all: Record<string, number> = {};
  for (const name in limits) {
    const value = limits[name as keyof GPUSupportedLimits];
    if (typeof value === 'number') all[name] = value;
  }
  return all;
}
