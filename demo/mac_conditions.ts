/** What must be so before a model can run here, and the way out where it is not. `look` asks the browser; the rest is pure. */

export type Surroundings = {
  secureContext: boolean;
  webgpu: boolean;
  /** Undefined where it was not asked. */
  adapter: boolean | undefined;
  privateFiles: boolean;
  /** Features that every browser with WebGPU has and that Lockdown Mode takes away, as far as they are missing. */
  missing: string[];
  safari: boolean;
  /** Of Safari; undefined for others. */
  version: number | undefined;
  /** Opened from the Dock. */
  standalone: boolean;
};

export type Condition = {
  id: 'address' | 'lockdown' | 'webgpu' | 'files';
  title: string;
  status: 'passed' | 'noted' | 'failed';
  words: string;
};

/** One alone may be switched off for another reason. */
const lockdownSigns = 2;

export function conditionsOf(at: Surroundings): Condition[] {
  return [address(at), lockdown(at), webgpu(at), files(at)];
}

export const canRun = (conditions: readonly Condition[]): boolean => conditions.every(({ status }) => status !== 'failed');

function address({ secureContext }: Surroundings): Condition {
  const title = 'A secure address';
  if (secureContext) return { id: 'address', title, status: 'passed', words: 'This page may use the GPU and keep files.' };
  const words =
    'Browsers offer WebGPU on https pages and on localhost only. Open this page under https://, or from the Mac itself.';
  return { id: 'address', title, status: 'failed', words };
}

function lockdown({ missing, webgpu }: Surroundings): Condition {
  const title = 'Lockdown Mode off';
  const on = missing.length >= lockdownSigns && !webgpu;
  if (!on) return { id: 'lockdown', title, status: 'passed', words: 'Nothing speaks for Lockdown Mode.' };
  const words =
    `Lockdown Mode seems to be on: ${missing.join(', ')} and WebGPU are missing. Switch it off for this site: Safari › Settings for ` +
    'This Website, and untick Enable Lockdown Mode; then reload.';
  return { id: 'lockdown', title, status: 'failed', words };
}

function webgpu({ webgpu, adapter, secureContext, safari, version }: Surroundings): Condition {
  const title = 'WebGPU';
  if (webgpu && adapter !== false) return { id: 'webgpu', title, status: 'passed', words: 'The browser offers the GPU.' };
  const words = !secureContext
    ? 'It will be there under a secure address.'
    : webgpu
      ? 'The browser has WebGPU and offers no GPU. In a virtual machine or over a screen share there may be none; else restart the browser.'
      : safari && version !== undefined && version < 26
        ? `This is Safari ${version}. WebGPU came with Safari 26 on macOS 26: update macOS (System Settings › General › Software Update), or use Chrome.`
        : safari
          ? 'Safari 26 has WebGPU on macOS 26 only; on an older macOS use Chrome. If this is macOS 26, look in Safari › Settings › Feature Flags for WebGPU.'
          : 'This browser has no WebGPU. Use Safari 26 on macOS 26, Chrome or Edge 121, or Firefox 147, or newer.';
  return { id: 'webgpu', title, status: 'failed', words };
}

function files({ privateFiles, secureContext }: Surroundings): Condition {
  const title = 'A window that keeps files';
  if (privateFiles)
    return { id: 'files', title, status: 'passed', words: 'Weights are kept, and need no download the next time.' };
  const words = secureContext
    ? 'This seems to be a private window: it keeps no files, so a model is downloaded anew at every visit. Open this page in a normal window (File › New Window).'
    : 'Files are kept under a secure address only.';
  return { id: 'files', title, status: 'noted', words };
}

/** Asks this browser. */
export async function look(): Promise<Surroundings> {
  const webgpu = 'gpu' in navigator && navigator.gpu !== undefined;
  const { safari, version } = safariOf(navigator.userAgent);
  return {
    secureContext: isSecureContext,
    webgpu,
    adapter: webgpu ? (await navigator.gpu.requestAdapter().catch(() => null)) !== null : undefined,
    privateFiles: await keepsFiles(),
    missing: lockdownFeatures.filter((name) => !(name in globalThis)),
    safari,
    version,
    standalone: matchMedia('(display-mode: standalone)').matches || (navigator as { standalone?: boolean }).standalone === true,
  };
}

const lockdownFeatures = [
  'WebAssembly',
  'WebGLRenderingContext',
  'RTCPeerConnection',
  'AudioContext',
  'FileReader',
  'PushManager',
];

/** Of `Version/26.1 … Safari/605.1.15`; every other browser that says Safari says its own name as well. */
export function safariOf(userAgent: string): Pick<Surroundings, 'safari' | 'version'> {
  const safari = /\bSafari\//.test(userAgent) && !/\b(?:Chrome|Chromium|CriOS|FxiOS|Edg|OPR|Android)\b/.test(userAgent);
  const version = safari ? /\bVersion\/(\d+(?:\.\d+)?)/.exec(userAgent)?.[1] : undefined;
  return { safari, version: version === undefined ? undefined : Number(version) };
}

/** Where the doctor's own probe lies; there whatever a closed tab left is removed the next time. */
async function keepsFiles(): Promise<boolean> {
  const name = 'window';
  try {
    const root = await navigator.storage.getDirectory();
    await root.removeEntry('sluice-probe').catch(() => {}); // an earlier version's, beside the folder
    let folder = root;
    for (const part of ['sluice', 'v1', 'doctor']) folder = await folder.getDirectoryHandle(part, { create: true });
    await folder.getFileHandle(name, { create: true });
    await folder.removeEntry(name);
    return true;
  } catch {
    return false; // however a private window refuses, it refuses
  }
}
