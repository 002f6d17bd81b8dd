/** What the address asked for, as a report may repeat it: in words that are Sluice's own. Others may be anybody's, and are not repeated. */
import { kernelCases } from '../cases/suite';
import type { ExamOptions } from './context';
import { describePlant, unknown } from './plant';
import type { Report } from './report';

export function askedOf({ only, plant }: Pick<ExamOptions, 'only' | 'plant'>): Pick<Report, 'only' | 'planted'> {
  return {
    ...(only ? { only: isPartOfName(only) ? only : unknown } : {}),
    ...(plant ? { planted: 'loseDeviceAtBytes' in plant || isKernel(plant.kernel) ? describePlant(plant) : unknown } : {}),
  };
}

const isPartOfName = (text: string): boolean => kernelCases.some(({ kernel, name }) => `${kernel}: ${name}`.includes(text));
const isKernel = (stem: string): boolean => kernelCases.some(({ kernel }) => kernel === stem);
