import { expect, test } from 'vitest';
import {
  checkModelFiles,
  filesOfModelFolder,
  localChoice,
  localName,
  modelLabel,
  modelRefOf,
  parseHubId,
} from '../../demo/model_choice';

const file = (path: string) => ({ name: path.split('/').pop()!, webkitRelativePath: path.includes('/') ? path : '' });

test.each([
  { input: 'Qwen/Qwen3.5-0.8B', id: 'Qwen/Qwen3.5-0.8B', why: 'owner and name' },
  { input: '  mlx-community/Qwen3.5-9B-4bit ', id: 'mlx-community/Qwen3.5-9B-4bit', why: 'spaces around a pasted id' },
  { input: 'a/b@main', id: 'a/b@main', why: 'a branch' },
  { input: 'a/b@refs/pr/3', id: 'a/b@refs/pr/3', why: 'a revision with slashes' },
  { input: 'a/b@0123456789abcdef0123456789abcdef01234567', id: 'a/b@0123456789abcdef0123456789abcdef01234567', why: 'a commit' },
])('$input is an id: $why', ({ input, id }) => {
  expect(parseHubId(input)).toEqual({ value: id });
});

test.each([
  { input: '', says: 'Enter a model id', why: 'nothing' },
  { input: 'Qwen3.5', says: 'owner/Qwen3.5', why: 'no owner' },
  { input: 'a/b/c', says: 'one slash', why: 'too many parts' },
  { input: 'a /b', says: 'no spaces', why: 'a space inside' },
  { input: 'a/b@', says: 'After the @', why: 'an empty revision' },
  { input: 'a/b@../x', says: 'letters, digits', why: 'a path that climbs' },
  { input: 'a/..', says: 'letters, digits', why: 'a name of dots' },
  { input: 'a/b@x//y', says: 'letters, digits', why: 'an empty path part' },
  { input: 'a/b?x=1', says: 'letters, digits', why: 'a query' },
  {
    input: 'https://huggingface.co/Qwen/Qwen3.5-0.8B',
    says: 'The id is Qwen/Qwen3.5-0.8B',
    why: 'the address of the model page',
  },
  { input: 'hf.co/Qwen/Qwen3.5-0.8B/tree/v1', says: 'The id is Qwen/Qwen3.5-0.8B@v1', why: 'the address of a branch' },
  { input: 'https://example.com/a/b', says: 'That is an address', why: 'an address elsewhere' },
  { input: 'javascript:alert(1)', says: 'That is an address', why: 'a scheme' },
])('"$input" is refused: $why', ({ input, says }) => {
  expect(parseHubId(input)).toEqual({ message: expect.stringContaining(says) });
});

test.each([
  { base: 'https://example.org/', url: 'https://example.org/demo/model/', why: 'the root of a host' },
  { base: 'https://example.org/sluice/', url: 'https://example.org/sluice/demo/model/', why: 'a base path' },
  {
    base: 'https://example.org/sluice/index.html?x#y',
    url: 'https://example.org/sluice/demo/model/',
    why: 'the page by its name',
  },
])('the bundled model lies beside the page: $why', ({ base, url }) => {
  expect(String(modelRefOf({ kind: 'bundled' }, base))).toBe(url);
});

test('a folder of files is narrowed to the folder that holds config.json', () => {
  const files = ['m/config.json', 'm/tokenizer.json', 'm/model.safetensors', 'm/original/config.json', 'm/notes/a.txt'].map(file);
  expect(filesOfModelFolder(files)).toEqual(files.slice(0, 3));
  expect(localName(files)).toBe('m');
});

test('a folder around the model folder is no hindrance', () => {
  const files = ['d/m/config.json', 'd/m/tokenizer.json', 'd/m/model.safetensors', 'd/other.txt'].map(file);
  expect(checkModelFiles(files)).toEqual({ value: files.slice(0, 3) });
});

test.each([
  { names: ['config.json'], missing: 'tokenizer.json, a .safetensors file' },
  { names: ['model.safetensors', 'tokenizer.json'], missing: 'config.json' },
  { names: ['readme.txt'], missing: 'config.json, tokenizer.json, a .safetensors file' },
])('$names lacks $missing', ({ names, missing }) => {
  expect(checkModelFiles(names.map(file))).toEqual({ message: expect.stringContaining(`Missing: ${missing}.`) });
});

test('loose files are named after their weights', () => {
  expect(localName(['config.json', 'model.safetensors'].map(file))).toBe('model.safetensors');
});

test.each([
  { name: 'qwen\u202egpj.3b\u2066', label: 'qwengpj.3b', why: 'what turns the direction of text is left out' },
  { name: '\u200f\u202e', label: 'Local files', why: 'nothing is left' },
  { name: 'm'.repeat(400), label: `${'m'.repeat(119)}…`, why: 'it is long' },
])('the name of a folder, where $why', ({ name, label }) => {
  expect(modelLabel(localChoice(name, []))).toBe(label);
});
