/** Makes a list of nodes equal to another one with as few changes as possible, so that a selection in what stays survives. */
import { isMathPlace } from './maths';

/** `current`: children of `parent`, side by side and in order. Returns what is there afterwards; `next` is used up. */
export function patchNodes(parent: Node, current: readonly ChildNode[], next: readonly ChildNode[]): ChildNode[] {
  const after = current.at(-1)?.nextSibling ?? null;
  const result = next.map((node, i) => patchNode(parent, current[i], node, after));
  for (const old of current.slice(next.length)) old.remove();
  return result;
}

function patchNode(parent: Node, old: ChildNode | undefined, node: ChildNode, after: Node | null): ChildNode {
  if (!old) return parent.insertBefore(node, after);
  if (old.isEqualNode(node)) return old;
  if (old instanceof Text && node instanceof Text) {
    if (node.data.startsWith(old.data)) old.appendData(node.data.slice(old.length));
    else old.data = node.data;
    return old;
  }
  if (old instanceof Element && node instanceof Element && canBecome(old, node)) {
    patchNodes(old, [...old.childNodes], [...node.childNodes]);
    return old;
  }
  parent.replaceChild(node, old);
  return node;
}

/** With its content changed alone. */
function canBecome(a: Element, b: Element): boolean {
  return (
    a.localName === b.localName &&
    a.attributes.length === b.attributes.length &&
    [...a.attributes].every(({ name, value }) => b.getAttribute(name) === value) &&
    (a.attributes.length === 0 || !isMathPlace(a)) // most have none, and a list of classes costs to make
  );
}
