/** A report as text to paste into an issue: what a person reads first, then all of it as JSON. */
import { type CheckId, checkIds, type Report } from './report';

export const checkTitles: Record<CheckId, string> = {
  browser: 'What the browser offers',
  device: 'The GPU device',
  kernels: 'Every kernel against its reference',
  model: 'The bundled model against its known logits',
  chat: 'A conversation, whole path',
  speed: 'What the machine gives at best',
  products: 'Matrix products of a 9B model',
  upload: 'Upload to the GPU',
  disk: 'The private file system',
  memory: 'How much GPU memory there is',
};

export function reportText(report: Report): string {
  const { findings, verdicts, planted, died, state, startedAt, build } = report;
  return [
    `Sluice doctor, build ${build}, ${startedAt}${state === 'done' ? '' : ` (${state})`}`,
    ...(planted ? [`PLANTED FAULT: ${planted}`] : []),
    ...(died ? [`An earlier visit died during '${died.check}', at: ${died.step}`] : []),
    ...(findings.browser ? [findings.browser.facts.userAgent] : []),
    '',
    ...checkIds.flatMap((id) => {
      const finding = findings[id];
      if (!finding) return [];
      const { status, summary, problems, ms } = finding;
      const lines = problems.filter((problem) => problem !== summary).map((problem) => `    ${problem}`);
      return [`${status.toUpperCase().padEnd(7)} ${checkTitles[id]} (${(ms / 1000).toFixed(1)} s): ${summary}`, ...lines];
    }),
    '',
    ...verdicts.map(({ model, words }) => `${model.padEnd(16)} ${words}`),
    '',
    '```json',
    JSON.stringify(report),
    '```',
  ].join('\n');
}
