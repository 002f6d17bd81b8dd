/** What goes over the port of constraints: one question a token, and its mask unasked. */
import { afterEach, expect, test } from 'vitest';
import { type ConstraintAnswers, ConstraintPort, serveConstraints } from '../../src/text/constraint_port';

/** Refuses token 0, is done with token 9; a mask is the `remaining` that it was asked for. */
const answers: ConstraintAnswers = {
  mask: async (id, remaining) => {
    asked.push(`mask ${id} for ${remaining}`);
    return { value: Uint32Array.of(remaining) };
  },
  accept: (id, token, remaining) => {
    asked.push(`token ${token} of ${id} before ${remaining}`);
    return { value: { accepted: token !== 0, done: token === 9 } };
  },
};

let asked: string[] = [];
let questions = 0;
let open: ConstraintPort | undefined;

function connect(): ConstraintPort {
  asked = [];
  questions = 0;
  const { port1, port2 } = new MessageChannel();
  port2.addEventListener('message', () => questions++);
  serveConstraints(port2, answers);
  open = new ConstraintPort(port1);
  return open;
}

afterEach(() => open?.close());

const maskOf = async (port: ConstraintPort, id: number, remaining: number) => {
  const reply = await port.mask(id, remaining);
  return 'value' in reply && reply.value[0];
};

test('an accepted token brings the next mask', async () => {
  const port = connect();
  expect(await port.accept(1, 5, 4)).toEqual({ value: { accepted: true, done: false } });
  expect(await maskOf(port, 1, 4)).toBe(4);
  expect(await maskOf(port, 1, 4)).toBe(4);
  expect(asked).toEqual(['token 5 of 1 before 4', 'mask 1 for 4']);
  expect(questions).toBe(1);
});

test('a refused one brings the changed mask of the same moment', async () => {
  const port = connect();
  expect(await maskOf(port, 1, 5)).toBe(5);
  expect(await port.accept(1, 0, 4)).toEqual({ value: { accepted: false, done: false } });
  expect(await maskOf(port, 1, 5)).toBe(5);
  expect(asked).toEqual(['mask 1 for 5', 'token 0 of 1 before 4', 'mask 1 for 5']);
  expect(questions).toBe(2);
});

test('no mask comes at the end, nor while tokens are taken again', async () => {
  const port = connect();
  await port.accept(1, 5, 0);
  await port.accept(1, 9, 4);
  await port.accept(1, 5, Number.POSITIVE_INFINITY);
  expect(await maskOf(port, 2, 3)).toBe(3); // whatever was sent before has come
  expect(asked.filter((what) => what.startsWith('mask 1'))).toEqual([]);
});

test('a mask for another length is asked for, and the one that nobody wanted does not take its place', async () => {
  const port = connect();
  await port.accept(1, 5, 4);
  const mask = maskOf(port, 1, 3);
  expect(await mask).toBe(3);
  expect(asked).toEqual(['token 5 of 1 before 4', 'mask 1 for 4', 'mask 1 for 3']);
});

test('constraints do not take each other’s masks', async () => {
  const port = connect();
  await Promise.all([port.accept(1, 5, 4), port.accept(2, 5, 7)]);
  expect(await Promise.all([maskOf(port, 2, 7), maskOf(port, 1, 4)])).toEqual([7, 4]);
  expect(questions).toBe(2);
});
