/** A report as text to paste into an issue: what a person reads first, then all of it as JSON. */
import { type AdapterSummary, type CheckId, checkIds, type Report } from './report';

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
  const { findings, verdicts, planted, again, adapter, userAgent, died, state, startedAt, build } = report;
  return [
    `Sluice doctor, build ${build}, ${startedAt}${state === 'done' ? '' : ` (${state})`}`,
    ...(planted ? [`PLANTED FAULT: ${planted}`] : []),
    ...(died ? [`An earlier visit died during '${died.check}', at: ${died.step}`] : []),
    userAgent,
    ...(adapter ? [adapterText(adapter)] : []),
    ...(again ? [`Asked for: ${Object.entries(again).map(pairText).join('; ')}`] : []),
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

const pairText = ([name, value]: [string, string]): string => `${name} = ${value}`;

function adapterText({ vendor, architecture, description, isCpu, subgroups, f16, int8Dot, direct }: AdapterSummary): string {
  const words = [description, vendor, architecture].filter(Boolean).join(', ') || 'not named by the browser';
  const uses = Object.entries({ subgroups, f16, 'int8 dot products': int8Dot, 'kernels without barriers': direct });
  const used = uses.filter(([, is]) => is).map(([name]) => name);
  return `Adapter: ${words}${isCpu ? ' (software)' : ''}; uses ${used.join(', ') || 'WebGPU’s own features'}`;
}
