/**
 * Maths in the four forms that models write: $…$ and \(…\) in a line, $$…$$ and \[…\] as blocks. The tokens carry TeX as `content`.
 * A dollar is maths only as pandoc has it: no space inside the dollars, no digit behind them, so that prices stay prices.
 */
import type MarkdownIt from 'markdown-it';
import type { StateBlock, StateInline } from 'markdown-it';

export function addMaths(parser: InstanceType<typeof MarkdownIt>): void {
  parser.inline.ruler.before('escape', 'math', inlineMath);
  parser.block.ruler.before('fence', 'math_block', blockMath, { alt: ['paragraph', 'reference', 'blockquote', 'list'] });
}

const INLINE = [
  { open: '$$', close: '$$', display: true },
  { open: '\\[', close: '\\]', display: true },
  { open: '\\(', close: '\\)', display: false },
] as const;

function inlineMath(state: StateInline, silent: boolean): boolean {
  const { src, pos, posMax } = state;
  const first = src[pos];
  if (first !== '$' && first !== '\\') return false;
  for (const { open, close, display } of INLINE) {
    if (!src.startsWith(open, pos)) continue;
    const end = src.indexOf(close, pos + open.length);
    if (end < 0 || end + close.length > posMax) return false;
    const tex = src.slice(pos + open.length, end);
    if (tex.trim() === '') return false;
    return take(state, silent, { tex, display, end: end + close.length });
  }
  const end = first === '$' ? endOfDollars(src, pos, posMax) : -1;
  return end > 0 && take(state, silent, { tex: src.slice(pos + 1, end), display: false, end: end + 1 });
}

function take(state: StateInline, silent: boolean, math: { tex: string; display: boolean; end: number }): boolean {
  if (!silent) {
    const token = state.push(math.display ? 'math_display' : 'math_inline', 'math', 0);
    token.content = math.tex;
    token.markup = state.src.slice(state.pos, math.end);
  }
  state.pos = math.end;
  return true;
}

function endOfDollars(src: string, start: number, posMax: number): number {
  if (/[\s$]/.test(src[start + 1] ?? ' ')) return -1;
  for (let i = start + 1; i < posMax && src[i] !== '\n'; i++) {
    if (src[i] === '\\') i++;
    else if (src[i] === '$') return /\s/.test(src[i - 1]!) || /\d/.test(src[i + 1] ?? '') ? -1 : i;
  }
  return -1;
}

/** A block begins a line with $$ or \[ and ends a line with its counterpart. */
function blockMath(state: StateBlock, startLine: number, endLine: number, silent: boolean): boolean {
  const begin = state.bMarks[startLine]! + state.tShift[startLine]!;
  if (state.sCount[startLine]! - state.blkIndent >= 4) return false;
  const open = state.src.slice(begin, begin + 2);
  const close = { $$: '$$', '\\[': '\\]' }[open];
  if (!close) return false;
  const lines: string[] = [];
  for (let line = startLine; line < endLine; line++) {
    if (line > startLine && state.sCount[line]! < state.blkIndent) return false; // left the list or quote
    const at = line === startLine ? begin + 2 : state.bMarks[line]! + state.tShift[line]!;
    const text = state.src.slice(at, state.eMarks[line]!);
    const end = text.indexOf(close);
    if (end >= 0 && text.slice(end + 2).trim() !== '') return false; // words behind it: maths within a paragraph
    lines.push(end >= 0 ? text.slice(0, end) : text);
    if (end < 0) continue;
    if (silent) return true;
    const token = state.push('math_block', 'math', 0);
    token.block = true;
    token.content = lines.join('\n').trim();
    token.markup = open;
    token.map = [startLine, line + 1];
    state.line = line + 1;
    return true;
  }
  return false;
}
