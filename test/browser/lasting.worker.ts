/** The library's worker, either of them by its name, with a way for a test to lose the device: a message on a channel. */
import { expose } from 'comlink';
import { createEngineWorker } from '../../src/engine/serve';
import { createTextWorkerApi } from '../../src/text/text_worker_api';

if (self.name === 'sluice') {
  let newest: GPUDevice | undefined;
  const { requestDevice } = GPUAdapter.prototype;
  GPUAdapter.prototype.requestDevice = async function (descriptor) {
    newest = await requestDevice.call(this, descriptor);
    return newest;
  };
  new BroadcastChannel('lose the device').addEventListener('message', () => newest?.destroy());
  expose(createEngineWorker());
} else {
  addEventListener('message', ({ data }: MessageEvent<{ port: MessagePort }>) => expose(createTextWorkerApi(), data.port), {
    once: true,
  });
  postMessage('ready');
}
