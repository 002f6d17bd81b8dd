/** What a trace of Chromium says of the thread that made this page's marks, between them. */
const marks = ['sluice-decode', 'sluice-decoded'];

/** As the operating system names it. */
export function markedThread(events) {
  const { pid, tid } = lastMark(events, marks[0]);
  return { pid, tid };
}

/** Samples of V8's profiler by function, and where it was defined. */
export function selfTimes(events) {
  const { on, from, to } = markedSpan(events);
  const ids = new Set(events.filter((event) => event.name === 'Profile' && on(event)).map(({ id }) => id));
  const names = new Map();
  const times = new Map();
  let at = events.find((event) => event.name === 'Profile' && ids.has(event.id))?.args.data.startTime ?? 0;
  const chunks = events.filter((event) => event.name === 'ProfileChunk' && ids.has(event.id)).sort((a, b) => a.ts - b.ts);
  for (const { args } of chunks) {
    const { cpuProfile = {}, timeDeltas = [] } = args.data;
    for (const { id, callFrame } of cpuProfile.nodes ?? []) {
      const file = (callFrame.url ?? '').split('/').at(-1).split('?')[0];
      names.set(id, `${callFrame.functionName || '(anonymous)'} ${file}:${callFrame.lineNumber ?? ''}`);
    }
    for (const [i, id] of (cpuProfile.samples ?? []).entries()) {
      at += timeDeltas[i];
      if (at > from && at < to) times.set(names.get(id), (times.get(names.get(id)) ?? 0) + timeDeltas[i] / 1000);
    }
  }
  const rows = [...times].map(([name, ms]) => ({ name, ms })).sort((a, b) => b.ms - a.ms);
  return rows.slice(0, 25);
}

function markedSpan(events) {
  const [start, end] = marks.map((name) => lastMark(events, name));
  return { on: ({ pid, tid }) => pid === start.pid && tid === start.tid, from: start.ts, to: end.ts };
}

function lastMark(events, wanted) {
  const mark = events.findLast(({ name }) => name === wanted);
  if (!mark) throw new Error('The trace lacks the marks of the worker.');
  return mark;
}
