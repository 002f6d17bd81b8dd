/** Removes what no text can finish: rules that only lead to themselves, alternatives that hold one, rules that nothing reaches. */
import { type Expression, empty, type Grammar, mapParts, nothing } from './expression';

/** The grammar without them; undefined if its root is one. Every prefix that the result admits can be completed. */
export function prune(grammar: Grammar): Grammar | undefined {
  const productive = productiveRules(grammar);
  if (!productive.has(grammar.root)) return undefined;
  const rules = new Map<string, Expression>();
  const pending = [grammar.root];
  while (pending.length > 0) {
    const name = pending.pop()!;
    if (rules.has(name)) continue;
    const expression = pruned(grammar.rules.get(name)!, productive);
    rules.set(name, expression);
    pending.push(...rulesIn(expression));
  }
  return { rules, root: grammar.root };
}

/** Rules that `expression` uses, or that its loose form does. */
export function rulesIn(expression: Expression, form: 'all' | 'loose' = 'all'): string[] {
  const within = (part: Expression) => rulesIn(part, form);
  switch (expression.kind) {
    case 'rule':
      return [expression.name];
    case 'sequence':
      return expression.parts.flatMap(within);
    case 'choice':
      return expression.options.flatMap(within);
    case 'repeat':
      return within(expression.of);
    case 'narrow':
      return [...(form === 'all' ? within(expression.exact) : []), ...within(expression.loose)];
    default:
      return [];
  }
}

function productiveRules({ rules }: Grammar): Set<string> {
  const productive = new Set<string>();
  const users = new Map<string, string[]>();
  for (const [name, expression] of rules) {
    for (const used of rulesIn(expression)) {
      const known = users.get(used);
      if (known) known.push(name);
      else users.set(used, [name]);
    }
  }
  const pending = [...rules.keys()];
  while (pending.length > 0) {
    const name = pending.pop()!;
    if (productive.has(name) || !isProductive(rules.get(name)!, productive)) continue;
    productive.add(name);
    pending.push(...(users.get(name) ?? []));
  }
  return productive;
}

function isProductive(expression: Expression, productive: ReadonlySet<string>): boolean {
  switch (expression.kind) {
    case 'literal':
      return true;
    case 'chars':
      return expression.ranges.length > 0;
    case 'rule':
      return productive.has(expression.name);
    case 'sequence':
      return expression.parts.every((part) => isProductive(part, productive));
    case 'choice':
      return expression.options.some((option) => isProductive(option, productive));
    case 'narrow':
      return isProductive(expression.exact, productive);
    case 'repeat':
      return expression.max >= expression.min && (expression.min === 0 || isProductive(expression.of, productive));
  }
}

function pruned(expression: Expression, productive: ReadonlySet<string>): Expression {
  if (!isProductive(expression, productive)) return nothing;
  if (expression.kind === 'repeat' && (expression.max === 0 || !isProductive(expression.of, productive))) return empty;
  if (expression.kind === 'choice') {
    const options = expression.options.filter((option) => isProductive(option, productive));
    return options.length === 1
      ? pruned(options[0]!, productive)
      : { kind: 'choice', options: options.map((option) => pruned(option, productive)) };
  }
  return mapParts(expression, (part) => pruned(part, productive));
}
