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
    ['/Users/John Smith/Models/x.bin is missing', '<path> is missing'],
    ['/Users/John Smith', '<path>'],
    ['/Users/John van Smith/Models/x.bin is missing', '<path> is missing'],
    ['C:\\Users\\John Smith', '<path>'],
    ['"/Volumes/My Disk/a, b/x" is missing', '"<path>" is missing'],
    ['open C:\\Users\\John Smith\\x failed', 'open <path> failed'],
    ['D:\\My Models\\new ones\\x', '<path>'],
    ['\\\\server\\share\\x', '<path>'],
    ['localhost:5173/secret/x is gone', '<address> is gone'],
    ['localhost/secret', '<address>'],
    ['192.168.1.5:8080/abc', '<address>'],
    ['[fe80::1]:8080/abc', '<address>'],
    ['models.example.com/private/x', '<address>'],
    ['the token github_pat_11ABCDEFG0_abcdefgh was refused', 'the token <key> was refused'],
    ['[/home/x/y]', '[<path>]'],
    ['“/home/x”', '“<path>”'],
    ['a,/home/x', 'a,<path>'],
    ['/home/жук/модель', '<path>'],
    ['page?model=secret&x=1 died', 'page<query> died'],
  ])('%s', (text, expected) => expect(withoutAddresses(text)).toBe(expected));
});

describe('what must stay', () => {
  test.each([
    'Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/26.0 Safari/605.1.15',
    '12.5 tokens/s at 100 GB/s',
    'gemv_q4: subgroups, q4 g64 bf16, 3 x 576: [1] got 1.5 want 2 <- first bad',
    'error 0.3 is over 1.2e-5. y: 780 values',
    'Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/149.0.0.0 Safari/537.36 Edg/149.0.3650.96',
    'Use Chrome or Edge 121+, Safari 26+ or Firefox 147+ on a page served over https or from localhost.',
    "gemv_q4: q_proj 128x256: int16 2x64 wrong: relative error 1.7e+0, ||a - b|| / ||b||, 'sqrt' for 'inverseSqrt'",
    'ANGLE (Apple, ANGLE Metal Renderer: Apple M2, Version 14.5 (Build 23F79)), driver 31.0.15.3623',
    'Qwen3.5 35B-A3B Experts are fetched from disk, in 4 GiB, at most 12.5 tokens/s. and/or 7/8 of 1/2',
  ])('%s', (text) => expect(withoutAddresses(text)).toBe(text));
});

test('texts at any depth are cleaned, and nothing else changes', () => {
  const report = { a: ['see https://x.example/y'], b: { c: 1, d: null, e: true } };
  expect(cleaned(report)).toEqual({ a: ['see <address>'], b: { c: 1, d: null, e: true } });
});
