/**
 * Starts a module worker, also from another origin: a worker's script must be same-origin, so a small blob imports the real
 * one (which the other origin must serve with CORS).
 */
export function spawnModuleWorker(url: URL, name: string): Worker {
  if (url.origin === self.location.origin || url.protocol === 'blob:') return new Worker(url, { type: 'module', name });
  const shim = URL.createObjectURL(new Blob([`import ${JSON.stringify(url.href)};`], { type: 'text/javascript' }));
  const worker = new Worker(shim, { type: 'module', name });
  worker.addEventListener('message', () => URL.revokeObjectURL(shim), { once: true });
  return worker;
}
