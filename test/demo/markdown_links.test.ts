import { expect, test } from 'vitest';
import { linkOf } from '../../demo/markdown/links';

test.each([
  { address: 'https://example.com/a?b=1', place: 'example.com', why: 'a web address' },
  { address: 'https://exämple.com/', place: 'xn--exmple-cua.com', why: 'letters that look alike show' },
  { address: 'HTTPS://EXAMPLE.com:8443/', place: 'example.com:8443', why: 'a port is part of the place' },
  { address: 'mailto:me@example.com', place: 'me@example.com', why: 'a mail address' },
  { address: 'mailto:a%40bank.com%E2%80%AE@evil.com', place: 'a%40bank.com%E2%80%AE@evil.com', why: 'escapes stay' },
  { address: 'mailto:b\u00e4nk@evil.com', place: 'b%C3%A4nk@evil.com', why: 'in ASCII' },
  { address: 'mailto:me@example.com?subject=to', place: 'me@example.com', why: 'a subject' },
  { address: 'mailto:%', place: '%', why: 'a stray % is no failure' },
])('$why: $address', ({ address, place }) => expect(linkOf(address)?.place).toBe(place));

test.each([
  'http://example.com/',
  'javascript:alert(1)',
  ' javascript:alert(1)',
  'java\nscript:alert(1)',
  'data:text/html,<script>1</script>',
  'blob:https://example.com/1',
  'file:///etc/passwd',
  'vbscript:1',
  '//example.com/',
  '/path',
  '#anchor',
  'https://user:password@example.com/',
  'https://bank.com@evil.com/',
  'mailto:me@example.com?subject=a&BCC=evil@evil.com',
  'mailto:me@example.com?cc=evil@evil.com',
  'mailto:?to=evil@evil.com',
  'mailto:me@example.com?%63c=evil@evil.com',
  '',
])('%j is no link', (address) => expect(linkOf(address)).toBeUndefined());
