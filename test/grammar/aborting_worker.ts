/**
 * A text worker in which one grammar aborts the WebAssembly of xgrammar: it is compiled from text that the library cannot read. What
 * aborts is real; only the way to it is opened here, since the engine gives the library no text of anyone else's.
 */
import { GrammarCompiler } from '../../src/grammar/xgrammar';
import { serveTextWorker } from '../../src/node/text_worker_spawn';

const compile = GrammarCompiler.prototype.compile;
GrammarCompiler.prototype.compile = function (ebnf) {
  return compile.call(this, ebnf.includes('abort, please') ? 'root ::= "not closed' : ebnf);
};

serveTextWorker();
