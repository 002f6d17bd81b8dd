/**
 * Starts a module worker, also from another origin: a worker's script must be same-origin, so a small blob imports the real
 * one (which the other origin must serve with CORS).
 */
export function spawnModuleWorker(url: URL, name: string): Worker {
  if (url.origin === self.location.origin || url.protocol === 'blob:') return moduleWorker(url.href, name);
  const shim = URL.createObjectURL(new Blob([`import ${JSON.stringify(url.href)};`], { type: 'text/javascript' }));
  const worker = moduleWorker(shim, name);
  worker.addEventListener('message', () => URL.revokeObjectURL(shim), { once: true });
  return worker;
}

/** As far as TypeScript's DOM library knows it not. */
type TrustedTypes = { createPolicy(name: string, rules: { createScriptURL(url: string): string }): ScriptUrls };
type ScriptUrls = { createScriptURL(url: string): string };

/** One for the page: a policy's name can be taken once where the Content-Security-Policy says so. */
const POLICY = 'sluice';
let policy: ScriptUrls | undefined;

/** Where the page demands Trusted Types, a worker's address must come from a policy. The addresses are the library's own or the caller's. */
function moduleWorker(url: string, name: string): Worker {
  const { trustedTypes } = self as { trustedTypes?: TrustedTypes };
  policy ??= trustedTypes?.createPolicy(POLICY, { createScriptURL: (trusted) => trusted });
  return new Worker(policy ? policy.createScriptURL(url) : url, { type: 'module', name });
}
