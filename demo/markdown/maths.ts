/**
 * TeX as MathML. Temml comes with the first formula; until it is there, and for what it cannot read, the TeX itself is shown. Formulas are
 * drawn a few at a time, so that a reply full of them stops nothing, and what was drawn once is copied the next time.
 */
import { requestWork, type Work } from '../frame_work';
import { MATHML, MATHML_ATTRIBUTES } from './sanitise';

type Temml = typeof import('temml')['default'];

/** Longer ones are shown as TeX: what macros make of a formula must end soon. */
const MOST_CHARACTERS = 1000;
const MOST_EXPANSIONS = 100;
const MOST_CACHED = 500;
/** An event at a place whose formula has been drawn, which may have changed its height. It bubbles. */
export const FORMULA_DRAWN = 'formuladrawn';

const STYLES = [
  'color',
  'padding',
  'padding-left',
  'padding-right',
  'padding-top',
  'padding-bottom',
  'border',
  'border-left',
  'border-right',
];
STYLES.push('border-top', 'border-bottom', 'text-align', 'width', 'height', 'background-color', 'margin-left', 'margin-right');

let loading = false;
let temml: Temml | undefined;
const drawn = new Map<string, Element>();
/** Since the last draw. */
let filled: Element[] = [];
let waiting: { place: Element; tex: string; display: boolean }[] = [];

/** A place with the formula, or with its TeX until it is drawn: the place stays, because whoever put it on the page holds on to it. */
export function mathNode(tex: string, display: boolean): Element {
  const place = document.createElement('span');
  place.className = display ? 'math-line' : 'math-word';
  const known = drawn.get(keyOf(tex, display));
  place.append(known?.cloneNode(true) ?? texNode(tex, display));
  if (!known && tex.length <= MOST_CHARACTERS) {
    waiting.push({ place, tex, display });
    if (temml) requestWork(drawing);
    else if (!loading) void load();
  }
  return place;
}

/** A place is patched as a whole: what is drawn for it must not be put over other TeX. */
export function isMathPlace({ classList }: Element): boolean {
  return classList.contains('math-line') || classList.contains('math-word');
}

function keyOf(tex: string, display: boolean): string {
  return `${display ? 'd' : 'i'}${tex}`;
}

export function texNode(tex: string, display: boolean): Element {
  const place = document.createElement('code');
  place.className = display ? 'tex display' : 'tex';
  place.dir = 'ltr';
  place.textContent = tex;
  return place;
}

/** Of all that waits; mostly in the very run that made the places. */
const drawing: Work = {
  step() {
    const next = waiting.shift();
    if (next && fill(temml!, next)) filled.push(next.place);
    return waiting.length > 0;
  },
  draw() {
    const places = filled;
    filled = [];
    for (const place of places) place.dispatchEvent(new Event(FORMULA_DRAWN, { bubbles: true }));
  },
};

/** Where it cannot be had the TeX stays, and the next formula tries again. */
async function load(): Promise<void> {
  loading = true;
  try {
    temml = (await import('temml')).default;
    requestWork(drawing);
  } catch {
    waiting = [];
  }
  loading = false;
}

/** False for a place that is gone, in a block that was read again; its formula is drawn nevertheless, for the place that took over. */
function fill(temml: Temml, { place, tex, display }: (typeof waiting)[number]): boolean {
  const key = keyOf(tex, display);
  const math = drawn.get(key) ?? formula(temml, tex, display);
  if (!drawn.has(key)) drawn.set(key, math);
  if (drawn.size > MOST_CACHED) drawn.delete(drawn.keys().next().value!);
  if (place.isConnected) place.replaceChildren(math.cloneNode(true));
  return place.isConnected;
}

function formula(temml: Temml, tex: string, display: boolean): Element {
  const holder = document.createElement('span');
  try {
    temml.render(tex, holder, {
      displayMode: display,
      throwOnError: true,
      trust: false,
      maxExpand: MOST_EXPANSIONS,
      maxSize: [10, 10],
    });
  } catch {
    return texNode(tex, display); // not TeX that Temml reads
  }
  const made = holder.firstElementChild;
  if (made?.localName !== 'math') return texNode(tex, display);
  return copyMath(made) as Element;
}

/** Only elements, attributes and styles that are on the lists; the words of others stay. */
function copyMath(node: Node): Node {
  if (!(node instanceof Element)) return document.createTextNode(node.textContent ?? '');
  const copy = MATHML.includes(node.localName)
    ? document.createElementNS('http://www.w3.org/1998/Math/MathML', node.localName)
    : document.createDocumentFragment();
  if (copy instanceof MathMLElement) copyAttributes(node, copy);
  copy.append(...[...node.childNodes].map(copyMath));
  return copy;
}

function copyAttributes(from: Element, to: MathMLElement): void {
  for (const name of MATHML_ATTRIBUTES) {
    const value = from.getAttribute(name);
    if (value !== null) to.setAttribute(name, value);
  }
  if (from.getAttribute('class')?.startsWith('tml-')) to.setAttribute('class', from.getAttribute('class')!);
  const { style } = from as MathMLElement;
  for (const name of STYLES) {
    const value = style.getPropertyValue(name);
    if (value !== '' && !/\((?<!rgb\()/.test(value)) to.style.setProperty(name, value);
  }
}
