/** The benchmark's pictures, made of SVG elements; every figure in them is in the table as well. */

export type Bar = { name: string; of: 'read' | 'fma'; share: number; value: string };
export type Point = { x: number; y: number };

const SVG = 'http://www.w3.org/2000/svg';

/** A row of three cells for each bar: name, bar, value. */
export function barCells({ name, of, share, value }: Bar): Element[] {
  const bar = svg('svg', { viewBox: '0 0 100 8', preserveAspectRatio: 'none', 'aria-hidden': 'true' });
  bar.append(
    svg('rect', { class: 'bar-all', x: 0, y: 0, width: 100, height: 8 }),
    svg('rect', { class: `bar-${of}`, x: 0, y: 0, width: 100 * Math.min(1, Math.max(0, share)), height: 8 }),
  );
  const title = document.createElement('span');
  title.className = 'bar-name';
  title.textContent = name;
  const words = document.createElement('span');
  words.className = 'bar-value';
  words.textContent = value;
  return [title, bar, words];
}

const size = { width: 420, height: 200, left: 8, right: 24, top: 26, bottom: 28 };

/** One line from left to right, its points named by their values; y starts at 0. */
export function curve(title: string, points: readonly Point[], text: (y: number) => string): HTMLElement {
  const { width, height, left, right, top, bottom } = size;
  const most = Math.max(...points.map(({ y }) => y)) || 1;
  const step = (width - left - right) / Math.max(1, points.length - 1);
  const at = ({ y }: Point, i: number) => ({
    x: points.length === 1 ? width / 2 : left + i * step,
    y: height - bottom - (y / most) * (height - top - bottom),
  });
  const places = points.map(at);
  const label = `${title}: ${points.map(({ x, y }) => `${text(y)} at ${x.toLocaleString('en')}`).join(', ')}`;
  const drawing = svg('svg', { viewBox: `0 0 ${width} ${height}`, role: 'img', 'aria-label': label });
  const base = height - bottom;
  drawing.append(
    svg('line', { class: 'grid', x1: 0, y1: base, x2: width, y2: base }),
    svg('polyline', { class: 'line', points: places.map(({ x, y }) => `${x},${y}`).join(' ') }),
    ...places.flatMap(({ x, y }, i) => {
      const anchor = points.length > 1 && i === 0 ? 'start' : points.length > 1 && i === points.length - 1 ? 'end' : 'middle';
      const word = (className: string, y: number, words: string) => {
        const element = svg('text', { class: className, x, y, 'text-anchor': anchor });
        element.textContent = words;
        return element;
      };
      const { x: context, y: value } = points[i]!;
      return [
        svg('circle', { class: 'dot', cx: x, cy: y, r: 4 }),
        word('point', y - 10, text(value)),
        word('', base + 18, context.toLocaleString('en')),
      ];
    }),
  );
  const figure = document.createElement('figure');
  const caption = document.createElement('figcaption');
  caption.textContent = title;
  figure.append(caption, drawing);
  return figure;
}

function svg(name: string, attributes: Record<string, string | number>): SVGElement {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, String(value));
  return element;
}
