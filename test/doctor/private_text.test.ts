import { describe, expect, test } from 'vitest';
import { cleaned, withoutAddresses } from '../../src/doctor/private_text';

describe('what must not be in a report', () => {
  test.each([
    ['could not fetch https://user.example/models/a?token=secret today', 'could not fetch <address> today'],
    ['import of blob:https://a.example/1234-5678 failed', 'import of <address> failed'],
    ['file:///Users/someone/model.safetensors', '<address>'],
    ['chrome-extension://abcdef/page.html', '<address>'],
    ['no such file: /Users/someone/Models/model.safetensors', 'no such file: <path>'],
    ["open '/home/someone/x' (denied)", "open '<path>' (denied)"],
    ['~/Library/Safari', '<path>'],
    ['C:\\Users\\someone\\model', '<path>'],
    ['the key hf_AbCdEfGhIjKlMnOp was refused', 'the key <key> was refused'],
    ['Authorization: Bearer abc.def', 'Authorization: <key>'],
    ['page?model=secret&x=1 died', 'page<query> died'],
  ])('%s', (text, expected) => expect(withoutAddresses(text)).toBe(expected));
});

describe('what must stay', () => {
  test.each([
    'Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/26.0 Safari/605.1.15',
    '12.5 tokens/s at 100 GB/s',
    'gemv_q4: subgroups, q4 g64 bf16, 3 x 576: [1] got 1.5 want 2 <- first bad',
    'error 0.3 is over 1.2e-5. y: 780 values',
  ])('%s', (text) => expect(withoutAddresses(text)).toBe(text));
});

test('texts at any depth are cleaned, and nothing else changes', () => {
  const report = { a: ['see https://x.example/y'], b: { c: 1, d: null, e: true } };
  expect(cleaned(report)).toEqual({ a: ['see <address>'], b: { c: 1, d: null, e: true } });
});
