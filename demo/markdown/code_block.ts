/** Code with colours, its language and a button to copy it. Colours come as a tree from lowlight (highlight.js), never as HTML. */
import bash from 'highlight.js/lib/languages/bash';
import c from 'highlight.js/lib/languages/c';
import cpp from 'highlight.js/lib/languages/cpp';
import css from 'highlight.js/lib/languages/css';
import diff from 'highlight.js/lib/languages/diff';
import go from 'highlight.js/lib/languages/go';
import java from 'highlight.js/lib/languages/java';
import javascript from 'highlight.js/lib/languages/javascript';
import json from 'highlight.js/lib/languages/json';
import markdown from 'highlight.js/lib/languages/markdown';
import python from 'highlight.js/lib/languages/python';
import rust from 'highlight.js/lib/languages/rust';
import sql from 'highlight.js/lib/languages/sql';
import typescript from 'highlight.js/lib/languages/typescript';
import xml from 'highlight.js/lib/languages/xml';
import yaml from 'highlight.js/lib/languages/yaml';
import { createLowlight } from 'lowlight';

const languages = { bash, c, cpp, css, diff, go, java, javascript, json, markdown, python, rust, sql, typescript, xml, yaml };
const lowlight = createLowlight(languages);

/** Longer code stays in one colour: a grammar may take long over it. */
const MOST_COLOURED = 6000;

type Tree = ReturnType<typeof lowlight.highlight>;
type TreeNode = Tree['children'][number];

export function codeBlock(code: string, info: string): HTMLElement {
  const language = /^[^\s{]*/.exec(info)![0].slice(0, 40);
  const root = element('div', 'code-block');
  const head = element('div', 'code-head');
  const name = element('span', 'code-language');
  name.dir = 'auto';
  name.textContent = language || 'text';
  const copy = element('button', 'small');
  copy.setAttribute('type', 'button');
  copy.setAttribute('data-copy-code', '');
  copy.setAttribute('aria-label', 'Copy the code');
  copy.textContent = 'Copy';
  head.append(name, copy);
  const pre = element('pre', '');
  pre.tabIndex = 0; // it scrolls sideways, and so by keyboard too
  pre.dir = 'ltr';
  const words = element('code', '');
  words.append(...colour(code, language.toLowerCase()));
  pre.append(words);
  root.append(head, pre);
  return root;
}

/** Where more text of the same code goes, in pieces of its own, so that only the last one is laid out anew. */
export function codeOf(block: HTMLElement): HTMLElement {
  return block.querySelector('code')!;
}

function colour(code: string, language: string): Node[] {
  if (code.length > MOST_COLOURED || !lowlight.registered(language)) return code === '' ? [] : [document.createTextNode(code)];
  return lowlight.highlight(language, code).children.map(nodeOf);
}

function nodeOf(node: TreeNode): Node {
  if (node.type === 'text') return document.createTextNode(node.value);
  if (node.type !== 'element') return document.createTextNode('');
  const classes = node.properties.className;
  const span = element('span', Array.isArray(classes) ? classes.join(' ') : '');
  span.append(...node.children.map(nodeOf));
  return span;
}

function element<K extends keyof HTMLElementTagNameMap>(tag: K, className: string): HTMLElementTagNameMap[K] {
  const made = document.createElement(tag);
  if (className) made.className = className;
  return made;
}
