/** A tokenizer that a synthetic checkpoint takes from another model. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { EngineError } from '../../errors';
import type { TokenizerFiles } from '../../synth/texts';
import { Tokenizer } from '../../text/tokenizer';

const tokenizerFileNames = ['tokenizer.json', 'tokenizer_config.json', 'chat_template.jinja'];

/**
 * The tokenizer files of `folder`.
 * @throws EngineError 'not-found' without tokenizer.json; 'invalid-request' if it has more ids than the model has rows.
 */
export async function copiedTokenizer(folder: string, vocabSize: number): Promise<TokenizerFiles> {
  const files = new Map<string, string>();
  for (const name of tokenizerFileNames) {
    const text = await readFile(join(folder, name), 'utf8').catch((cause: NodeJS.ErrnoException) => {
      if (cause.code === 'ENOENT' && name !== 'tokenizer.json') return undefined;
      throw new EngineError('not-found', `--tokenizer: ${join(folder, name)} cannot be read (${cause.code}).`, { cause });
    });
    if (text !== undefined) files.set(name, text);
  }
  const tokenizer = new Tokenizer(files.get('tokenizer.json')!, files.get('tokenizer_config.json'));
  if (tokenizer.vocabSize > vocabSize) {
    throw new EngineError(
      'invalid-request',
      `--tokenizer: ${folder} has ids up to ${tokenizer.vocabSize - 1}, the model ${vocabSize} of them. Choose a smaller tokenizer.`,
    );
  }
  const { eos_token: eos, pad_token: pad } = tokenizer.config.specialTokens;
  const endIds = [eos, pad].flatMap((token) => (token === undefined ? [] : (tokenizer.idOf(token) ?? [])));
  return { files, endIds: endIds.length > 0 ? [...new Set(endIds)] : [tokenizer.vocabSize - 1] };
}
