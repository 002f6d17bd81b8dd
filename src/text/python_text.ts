/** How Python prints a value. Templates are written against jinja2, where `{{ true }}` gives True and `{{ ['a'] }}` gives ['a']. */

/** A value of the interpreter; its classes are not exported by @huggingface/jinja, their tags and contents are stable. */
export type JinjaValue = { type: string; value: unknown; toString(): string };

/** Python's `str(value)`. Undefined prints as nothing, as in jinja2. */
export function pythonStr(value: JinjaValue): string {
  if (value.type === 'StringValue') return value.value as string;
  if (value.type === 'UndefinedValue') return '';
  return pythonRepr(value);
}

function pythonRepr(printed: JinjaValue): string {
  const { type, value } = printed;
  switch (type) {
    case 'NullValue':
      return 'None';
    case 'BooleanValue':
      return value ? 'True' : 'False';
    case 'StringValue':
      return quote(value as string);
    case 'ArrayValue':
      return `[${(value as JinjaValue[]).map(pythonRepr).join(', ')}]`;
    case 'TupleValue': {
      const items = (value as JinjaValue[]).map(pythonRepr);
      return items.length === 1 ? `(${items[0]},)` : `(${items.join(', ')})`;
    }
    case 'ObjectValue':
      return `{${Array.from(value as Map<string, JinjaValue>, ([key, item]) => `${quote(key)}: ${pythonRepr(item)}`).join(', ')}}`;
    default:
      return printed.toString(); // numbers, and what has no Python form
  }
}

const ESCAPES: Record<string, string> = { '\\': '\\\\', '\n': '\\n', '\r': '\\r', '\t': '\\t' };

function quote(text: string): string {
  const mark = text.includes("'") && !text.includes('"') ? '"' : "'";
  const body = text.replace(/[\\\p{Cc}]/gu, (c) => ESCAPES[c] ?? `\\x${c.charCodeAt(0).toString(16).padStart(2, '0')}`);
  return mark + (mark === "'" ? body.replaceAll("'", "\\'") : body) + mark;
}
