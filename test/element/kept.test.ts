import { expect, test } from 'vitest';
import { keptFile } from '../../src/element/kept';

test('a name is a file of its own, however long and whatever is in it', async () => {
  expect(await keptFile('notes')).toBe('notes.json');
  expect(await keptFile('/a/b.html#c*')).toBe('%2Fa%2Fb%2Ehtml%23c%2A.json');
  const long = 'x'.repeat(200);
  const names = [long, `${long}1`, `${long}2`, '語'.repeat(80), `${'語'.repeat(80)}!`];
  const files = await Promise.all(names.map(keptFile));
  expect(files[0]).toBe(`${long}.json`);
  expect(files[1]).toMatch(/^x{100}\+[0-9a-f]{64}\.json$/);
  expect(new Set(files).size).toBe(names.length);
  for (const file of files) expect(file.length).toBeLessThan(255);
});
