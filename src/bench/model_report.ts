/** A model's figures with their shares of the machine's ceilings, as a person reads them. */
import type { Popularity } from '../synth/tensors';
import type { Ceilings } from './ceilings';
import type { ExpertBound } from './expert_bound';
import type { ContextFigures, ModelBench, SkippedContext } from './model';
import type { ProfileRow } from './profile';
import { aligned, count, figure, percent } from './report';

type Shares = { ofRead: number; ofFma: number };
export type ReportedProfile = { tokens: number; rows: (ProfileRow & Partial<Shares>)[] };
export type ReportedFigures = Omit<ContextFigures, 'profiles'> & Shares & { profiles: ReportedProfile[] };
export type ReportedContext = ReportedFigures | SkippedContext;

export function withModelShares(
  figures: ContextFigures | SkippedContext,
  { readGBps, fmaTflops }: Pick<Ceilings, 'readGBps' | 'fmaTflops'>,
): ReportedContext {
  if ('skipped' in figures) return figures;
  const shares = (gbPerSecond: number, tflops: number): Shares => ({
    ofRead: gbPerSecond / readGBps.value,
    ofFma: tflops / fmaTflops.value,
  });
  const profiles = figures.profiles.map(({ tokens, rows }) => ({
    tokens,
    rows: rows.map((row) => ({ ...row, ...(row.gbPerSecond === undefined ? {} : shares(row.gbPerSecond, row.tflops!)) })),
  }));
  return { ...figures, ...shares(figures.gbPerSecond, figures.prefillTflops), profiles };
}

const columns = [
  ...['context', 'prefill tok/s', '±', 'of FMA', 'decode tok/s', '±', 'MB a token', 'GB/s', 'of read'],
  ...['peak GB', 'dispatches', 'a layer', 'submits', ''],
];

type Asked = Pick<ModelBench, 'promptTokens' | 'decodeTokens' | 'repeat' | 'trace'> & {
  /** Of a synthetic model; undefined of others. */
  routing?: Popularity | undefined;
};

export function modelTable(
  label: string,
  { promptTokens, decodeTokens, repeat, trace, routing }: Asked,
  rows: readonly ReportedContext[],
) {
  const isMixture = rows.some((row) => !('skipped' in row) && row.experts);
  const choice = trace ? 'as in a text of real locality (--trace real)' : `as ${routersText(routing)} choose`;
  const experts = isMixture ? `; experts ${choice}` : '';
  const title = `${label}: prompt ${promptTokens}, decode ${decodeTokens}, median of ${count(repeat, 'run')}${experts}`;
  const skipped = rows.flatMap((row) => ('skipped' in row ? [`  context ${row.context} skipped: ${row.skipped}`] : []));
  const measured = rows.flatMap((row) => ('skipped' in row ? [] : [cells(row)]));
  const bounds = rows.flatMap((row) => ('skipped' in row || !row.bound ? [] : [`  ${boundText(row.context, row.bound)}`]));
  return [title, ...(measured.length > 0 ? aligned([columns, ...measured]) : []), ...bounds, ...skipped].join('\n');
}

function routersText(routing: Popularity | undefined): string {
  if (!routing) return 'the routers';
  const { skew, locality } = routing;
  return skew === 0 ? 'random routers, which favour none,' : `routers of skew ${skew} and locality ${locality}`;
}

function boundText(context: number, bound: ExpertBound): string {
  const { missesPerToken, lruMissesPerToken, msPerExpert, parallelism, residentTokensPerSecond, tokensPerSecond, ratio } = bound;
  return (
    `context ${context}: ${figure(missesPerToken)} misses a token, of the least recently used ${figure(lruMissesPerToken)}; ` +
    `an expert is fetched in ${figure(msPerExpert)} ms, ${figure(parallelism)} times as fast side by side; resident ` +
    `${figure(residentTokensPerSecond)} tok/s; bound ${figure(tokensPerSecond)} tok/s, reached ${percent(ratio)}`
  );
}

const profileColumns = ['kernel', 'a step', 'µs each', 'ms a step', 'of all', 'GB/s', 'of read', 'TFLOP/s', 'of FMA', ''];

/** Where a step's time on the GPU goes; kernels alone, so the sum is without what a dispatch waits for the one before. */
export function profileTable(context: number, { tokens, rows }: ReportedProfile): string {
  const total = rows.reduce((sum, { msPerStep }) => sum + msPerStep, 0);
  const lines = rows.map(({ kernel, dispatches, us, msPerStep, gbPerSecond, tflops, ofRead, ofFma }) => [
    ...[kernel, String(dispatches), figure(us), figure(msPerStep), percent(msPerStep / total)],
    ...(gbPerSecond === undefined
      ? ['-', '-', '-', '-']
      : [figure(gbPerSecond), percent(ofRead!), figure(tflops!), percent(ofFma!)]),
    '',
  ]);
  const what = tokens === 1 ? 'decode' : `${tokens} tokens of prompt`;
  const title = `${what} at context ${context}: ${figure(total)} ms in kernels by ${clocksText(rows)}`;
  return [title, ...aligned([profileColumns, ...lines])].join('\n');
}

/** Which clock: where the GPU's gave no interval for a kernel the wall clock timed that one, and submit and wait with it. */
export function clocksText(rows: readonly Pick<ProfileRow, 'clock'>[]): string {
  const wall = rows.filter(({ clock }) => clock === 'wall').length;
  if (wall === 0) return 'timestamps of the GPU';
  return wall === rows.length ? 'the wall clock' : `timestamps of the GPU, ${wall} of ${rows.length} by the wall clock`;
}

function cells(row: ReportedFigures): string[] {
  const { prefillTokensPerSecond: prefill, decodeTokensPerSecond: decode } = row;
  return [
    String(row.context),
    figure(prefill.median),
    percent(prefill.spread / 2),
    percent(row.ofFma),
    figure(decode.median),
    percent(decode.spread / 2),
    figure(row.bytesPerToken.total / 1e6),
    figure(row.gbPerSecond),
    percent(row.ofRead),
    figure(row.peakGpuBytes / 1e9),
    figure(row.dispatchesPerToken),
    figure(row.dispatchesPerLayer),
    figure(row.submitsPerToken),
    remarks(row),
  ];
}

function remarks({ repeatable, streamedBytesPerToken, experts }: ReportedFigures): string {
  const streams = streamedBytesPerToken > 0 ? [`streams ${figure(streamedBytesPerToken / 1e6)} MB`] : [];
  const hits = experts && experts.misses > 0 ? [`hits ${percent(experts.hits / (experts.hits + experts.misses))}`] : [];
  return [...streams, ...hits, ...(repeatable ? [] : ['RUNS DIFFER'])].join(', ');
}
