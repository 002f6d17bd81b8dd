/**
 * Numbers within bounds as text, digit by digit. What is written must still be within them once `JSON.parse` has rounded it to a
 * double, so no number has more than 15 significant digits: those are told apart by every double.
 */
import { chars, charsOf, choice, type Expression, empty, literal, nothing, optional, repeat, sequence } from './expression';

export type NumberBounds = {
  low: number;
  lowExclusive: boolean;
  high: number;
  highExclusive: boolean;
};

export const unbounded: NumberBounds = {
  low: Number.NEGATIVE_INFINITY,
  lowExclusive: false,
  high: Number.POSITIVE_INFINITY,
  highExclusive: false,
};

const digit = chars([0x30, 0x39]);
const minus = literal('-');
/** Digits of the largest whole number that is written. */
const wholeDigits = 15;
const largest = 10n ** BigInt(wholeDigits) - 1n;

const whole = choice(literal('0'), sequence(chars([0x31, 0x39]), repeat(digit, 0, wholeDigits - 1)));

/** Without bounds: at most 15 digits, a fraction of at most 15, an exponent of at most two. */
const anyInteger = sequence(optional(minus), whole);
const anyNumber = sequence(
  anyInteger,
  optional(sequence(literal('.'), repeat(digit, 1, wholeDigits))),
  optional(sequence(charsOf('eE'), optional(charsOf('+-')), repeat(digit, 1, 2))),
);

/** `nothing` where no such number can be written. */
export function numberExpression(bounds: NumberBounds, integer: boolean): Expression {
  if (bounds.low === Number.NEGATIVE_INFINITY && bounds.high === Number.POSITIVE_INFINITY)
    return integer ? anyInteger : anyNumber;
  const places = integer ? 0 : fractionDigits(bounds);
  const low = lowestUnits(bounds, places);
  const high = highestUnits(bounds, places);
  if (low > high) return nothing;
  const options: Expression[] = [];
  if (high >= 0n) options.push(magnitude(low > 0n ? low : 0n, high, places));
  if (low < 0n) options.push(sequence(minus, magnitude(high < 0n ? -high : 1n, -low, places)));
  return choice(...options);
}

/**
 * Fraction digits: six, or as many more as the finer bound or a narrow range needs, and never so many that a number could pass 15
 * digits in all.
 */
function fractionDigits({ low, high }: NumberBounds): number {
  const finite = [low, high].filter(Number.isFinite);
  const most = Math.max(1, ...finite.map(Math.abs));
  const magnitude = finite.length === 2 ? most : Math.max(1e9, most * 10);
  const room = Math.max(0, wholeDigits - (Math.floor(Math.log10(magnitude)) + 1));
  const own = Math.max(...finite.map(decimals));
  const narrow = finite.length === 2 && high > low ? Math.ceil(-Math.log10(high - low)) + 2 : 0;
  return Math.max(0, Math.min(room, Math.max(6, own, narrow)));
}

function decimals(value: number): number {
  const [, fraction = '', exponent = '0'] = /^-?\d+(?:\.(\d+))?(?:e([+-]\d+))?$/.exec(String(value)) ?? [];
  return Math.max(0, fraction.length - Number(exponent));
}

/** The least multiple of 10^-places that the bounds admit, as that many units. */
function lowestUnits({ low, lowExclusive }: NumberBounds, places: number): bigint {
  const limit = largest;
  if (low < -Number(limit)) return -limit;
  if (low > Number(limit)) return limit + 1n;
  let units = nearestUnits(low, places) - 1n;
  while (lowExclusive ? parsed(units, places) <= low : parsed(units, places) < low) units++;
  return units < -limit ? -limit : units;
}

function highestUnits(bounds: NumberBounds, places: number): bigint {
  const { low, lowExclusive, high, highExclusive } = bounds;
  return -lowestUnits({ low: -high, lowExclusive: highExclusive, high: -low, highExclusive: lowExclusive }, places);
}

function nearestUnits(value: number, places: number): bigint {
  return BigInt(Math.round(Number(`${value}e${places}`.replace(/e([+-]?\d+)e(\d+)$/, (_, a, b) => `e${Number(a) + Number(b)}`))));
}

/** What JSON.parse makes of the text. */
function parsed(units: bigint, places: number): number {
  return Number(`${units}e-${places}`);
}

/** 0 <= low <= high, in units of 10^-places. */
function magnitude(low: bigint, high: bigint, places: number): Expression {
  const scale = 10n ** BigInt(places);
  const [lowWhole, highWhole] = [low / scale, high / scale];
  const fractionOf = (units: bigint) => String(units % scale).padStart(places, '0');
  const [lowFraction, highFraction] = places === 0 ? ['', ''] : [fractionOf(low), fractionOf(high)];
  const none = '0'.repeat(places);
  const all = '9'.repeat(places);
  if (lowWhole === highWhole) return sequence(literal(String(lowWhole)), fraction(lowFraction, highFraction));
  const options = [
    sequence(literal(String(lowWhole)), fraction(lowFraction, all)),
    sequence(literal(String(highWhole)), fraction(none, highFraction)),
  ];
  if (lowWhole + 1n < highWhole) options.push(sequence(wholes(lowWhole + 1n, highWhole - 1n), fraction(none, all)));
  return choice(...options);
}

/** Nothing, or a point and digits: what the decimals `low` to `high` (equally long) can be written as. */
function fraction(low: string, high: string): Expression {
  if (low === '') return empty;
  const digits = fractionDigitsFrom(low, high, 0, true, true);
  const written = sequence(literal('.'), digits);
  return /^0*$/.test(low) ? optional(written) : written;
}

/** At least one digit from place `i` on; places that are left out count as zeros. */
function fractionDigitsFrom(low: string, high: string, i: number, atLow: boolean, atHigh: boolean): Expression {
  const rest = low.length - i - 1;
  if (!atLow && !atHigh) return repeat(digit, 1, rest + 1);
  const from = atLow ? Number(low[i]) : 0;
  const to = atHigh ? Number(high[i]) : 9;
  const options: Expression[] = [];
  for (let value = from; value <= to; value++) {
    const staysLow = atLow && value === from;
    const staysHigh = atHigh && value === to;
    if (!staysLow && !staysHigh) continue;
    const mayEnd = !staysLow || /^0*$/.test(low.slice(i + 1));
    const more = rest > 0 ? fractionDigitsFrom(low, high, i + 1, staysLow, staysHigh) : empty;
    const tail = rest === 0 ? empty : mayEnd ? optional(more) : more;
    options.push(sequence(literal(String(value)), tail));
  }
  const inner: [number, number] = [from + (atLow ? 1 : 0), to - (atHigh ? 1 : 0)];
  if (inner[0] <= inner[1]) options.push(sequence(digits(...inner), repeat(digit, 0, rest)));
  return choice(...options);
}

const digits = (from: number, to: number) => chars([0x30 + from, 0x30 + to]);

/** Whole numbers, 0 <= low <= high. */
function wholes(low: bigint, high: bigint): Expression {
  const options: Expression[] = [];
  for (let length = String(low).length; length <= String(high).length; length++) {
    const least = length === 1 ? 0n : 10n ** BigInt(length - 1);
    const most = 10n ** BigInt(length) - 1n;
    options.push(sameLength(String(low > least ? low : least), String(high < most ? high : most)));
  }
  return choice(...options);
}

/** Numbers between two of equal length: the common front, then what lies between the two digits that differ first. */
function sameLength(low: string, high: string): Expression {
  const rest = low.length - 1;
  if (low === high) return literal(low);
  if (low[0] === high[0]) return sequence(literal(low[0]!), sameLength(low.slice(1), high.slice(1)));
  const [first, last] = [Number(low[0]), Number(high[0])];
  const lowIsFull = /^0*$/.test(low.slice(1));
  const highIsFull = /^9*$/.test(high.slice(1));
  const options: Expression[] = [];
  const [from, to] = [lowIsFull ? first : first + 1, highIsFull ? last : last - 1];
  if (!lowIsFull) options.push(sequence(literal(low[0]!), sameLength(low.slice(1), '9'.repeat(rest))));
  if (from <= to) options.push(sequence(digits(from, to), repeat(digit, rest, rest)));
  if (!highIsFull) options.push(sequence(literal(high[0]!), sameLength('0'.repeat(rest), high.slice(1))));
  return choice(...options);
}
