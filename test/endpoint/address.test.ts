import { expect, test } from 'vitest';
import { endpointAddress } from '../../src/endpoint/address';

test.each([
  ['https://llm.example/v1', 'https://llm.example/v1', 'https://llm.example', 'llm.example', false],
  ['https://llm.example:8443/v1//', 'https://llm.example:8443/v1', 'https://llm.example:8443', 'llm.example:8443', false],
  ['https://llm.example/v1?', 'https://llm.example/v1', 'https://llm.example', 'llm.example', false],
  ['https://llm.example/v1/#', 'https://llm.example/v1', 'https://llm.example', 'llm.example', false],
  ['https://llm.example', 'https://llm.example', 'https://llm.example', 'llm.example', false],
  ['http://localhost:11434/v1', 'http://localhost:11434/v1', 'http://localhost:11434', 'localhost:11434', true],
  ['http://127.0.0.1:8080', 'http://127.0.0.1:8080', 'http://127.0.0.1:8080', '127.0.0.1:8080', true],
  ['http://127.9.0.1/v1', 'http://127.9.0.1/v1', 'http://127.9.0.1', '127.9.0.1', true],
  ['http://[::1]:1234/v1', 'http://[::1]:1234/v1', 'http://[::1]:1234', '[::1]:1234', true],
  ['http://ai.localhost/v1', 'http://ai.localhost/v1', 'http://ai.localhost', 'ai.localhost', true],
  ['http://2130706433/v1', 'http://127.0.0.1/v1', 'http://127.0.0.1', '127.0.0.1', true],
])('%s', (text, base, origin, host, loopback) => expect(endpointAddress(text)).toEqual({ base, origin, host, loopback }));

test.each([
  ['http://llm.example/v1', /https/, 'in the clear'],
  ['http://192.168.0.2:11434/v1', /https/, 'another machine, if a near one'],
  ['http://localhost.evil.example/v1', /https/, 'a name that only looks like loopback'],
  ['http://127.0.0.1.evil.example/v1', /https/, 'a number that only looks like loopback'],
  ['ws://localhost/v1', /https/, 'another protocol'],
  ['javascript:alert(1)', /https/, 'no network at all'],
  ['/v1', /whole address/, 'relative'],
  ['', /whole address/, 'nothing'],
  ['https://user:secret@llm.example/v1', /user name/, 'a password'],
  ['https://llm.example/v1?key=secret', /query/, 'a key in the query'],
  ['https://llm.example/v1#secret', /fragment/, 'a key in the fragment'],
])('%s is refused: %s', (text, message) => {
  const refused = () => endpointAddress(text);
  expect(refused).toThrow(message);
  expect(refused).toThrow(expect.objectContaining({ code: 'invalid-request', message: expect.not.stringContaining('secret') }));
});
