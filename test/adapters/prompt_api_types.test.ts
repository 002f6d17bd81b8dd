/// <reference types="dom-chromium-ai" />
/**
 * Our `LanguageModel` against the types of the browsers' own: code written for those must compile with ours in their place. The compiler
 * checks it (`npm run check`); at run time only what needs no model remains.
 */
import { expect, test } from 'vitest';
import { createLanguageModel, installLanguageModel } from '../../src/adapters/prompt_api';

type Platform = typeof LanguageModel;
type Session = Awaited<ReturnType<Platform['create']>>;
type Static = Pick<Platform, 'create' | 'availability' | 'params'>;

const Ours = createLanguageModel('owner/name');
const asPlatform: Static = Ours;
const asSession = (session: InstanceType<typeof Ours>): Session => session;
/** As the platform's documentation has it. */
async function applicationCode(model: Static): Promise<string> {
  const session = await model.create({
    initialPrompts: [{ role: 'system', content: 'Be brief.' }],
    monitor: (monitor) => monitor.addEventListener('downloadprogress', ({ loaded }) => loaded),
    signal: new AbortController().signal,
  });
  const text = await session.prompt([{ role: 'user', content: [{ type: 'text', value: 'Hello' }] }]);
  const reader = session.promptStreaming('And?', { responseConstraint: { type: 'object' } }).getReader();
  return text + (await reader.read()).value;
}

test('the types fit', () => expect([asPlatform, asSession, applicationCode]).toHaveLength(3));

test.each([
  ['images', { expectedInputs: [{ type: 'image' as const }] }],
  ['audio', { expectedOutputs: [{ type: 'audio' as const }] }],
])('%s are unavailable, and refused', async (_, options) => {
  expect(await Ours.availability(options)).toBe('unavailable');
  await expect(Ours.create(options)).rejects.toMatchObject({ name: 'NotSupportedError' });
});

test.each([
  [{ samplingMode: 'creative' as const, temperature: 1 }, 'TypeError'],
  [{ temperature: 3 }, 'RangeError'],
  [{ topK: 0 }, 'RangeError'],
  [
    {
      initialPrompts: [
        { role: 'user' as const, content: 'x' },
        { role: 'system' as const, content: 'y' },
      ],
    },
    'TypeError',
  ],
  [{ initialPrompts: [{ role: 'user' as const, content: [{ type: 'image' as const, value: 0 }] }] }, 'NotSupportedError'],
])('%j: %s', async (options, name) => {
  await expect(Ours.create(options)).rejects.toMatchObject({ name });
});

test('no session without create', () => {
  expect(() => new (Ours as unknown as new () => unknown)()).toThrow(/LanguageModel.create/);
});

test('the global is replaced on request only, and comes back', () => {
  const target = { LanguageModel: 'the browser’s' };
  const restore = installLanguageModel(Ours, target);
  expect(target.LanguageModel).toBe(Ours);
  restore();
  expect(target.LanguageModel).toBe('the browser’s');
  const bare = {};
  installLanguageModel(Ours, bare)();
  expect(bare).toEqual({});
  expect('LanguageModel' in globalThis).toBe(false);
});
