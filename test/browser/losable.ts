/** Ahead of a worker's own code: its device can be destroyed from the page, which cannot reach it otherwise. */
export const LOSABLE = `{
  let newest;
  const { requestDevice } = GPUAdapter.prototype;
  GPUAdapter.prototype.requestDevice = async function (descriptor) {
    newest = await requestDevice.call(this, descriptor);
    return newest;
  };
  new BroadcastChannel('lose the device').addEventListener('message', () => newest?.destroy());
}
`;
