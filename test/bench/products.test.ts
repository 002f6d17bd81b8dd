/** The doctor's products at tiny shapes on Dawn: a wrong kernel is found and named. */
import { expect, test } from 'vitest';
import { checkProducts } from '../../src/doctor/checks/products';
import { openNodeGpu } from '../../src/node/open_gpu';

test('a planted fault in a kernel of products', async () => {
  const gpu = await openNodeGpu();
  const plant = { kernel: 'gemv_q4', from: '28', to: '24' };
  const context = { options: { modelUrl: '', plant }, gpu: async () => gpu, say: async () => {} };
  const { status, problems } = await checkProducts(context);
  expect(status).toBe('failed');
  expect(problems!.length).toBeGreaterThan(0);
  for (const problem of problems!) expect(problem).toMatch(/\d+x256: gemv_q4 wrong: relative error/);
  gpu.device.destroy();
});
