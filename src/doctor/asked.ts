/** What the address asked for, as a report may repeat it: in words that are Sluice's own. Others may be anybody's, and are not repeated. */
import { kernelCases } from '../cases/suite';
import { type ExamOptions, gib } from './context';
import { describePlant, plantText, unknown } from './plant';
import type { CheckId, Report } from './report';

export function askedOf({ only, plant }: Pick<ExamOptions, 'only' | 'plant'>): Pick<Report, 'only' | 'planted'> {
  return {
    ...(only ? { only: isPartOfName(only) ? only : unknown } : {}),
    ...(plant ? { planted: 'loseDeviceAtBytes' in plant || isKernel(plant.kernel) ? describePlant(plant) : unknown } : {}),
  };
}

/** The parameters of the page that ask for the same again; undefined where one of them is not repeated. */
export function againOf(checks: readonly CheckId[], options: Omit<ExamOptions, 'modelUrl'>): Report['again'] {
  const { only, plant, memoryBytes, diskBytes } = options;
  const told = askedOf(options);
  if (told.only === unknown || told.planted === unknown) return undefined;
  return {
    checks: checks.join(','),
    ...(only ? { only } : {}),
    ...(plant ? { plant: plantText(plant) } : {}),
    ...(memoryBytes === undefined ? {} : { memory: String(memoryBytes / gib) }),
    ...(diskBytes === undefined ? {} : { disk: String(diskBytes / gib) }),
  };
}

const isPartOfName = (text: string): boolean => kernelCases.some(({ kernel, name }) => `${kernel}: ${name}`.includes(text));
const isKernel = (stem: string): boolean => kernelCases.some(({ kernel }) => kernel === stem);
