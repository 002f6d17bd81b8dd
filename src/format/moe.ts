/** The tensors of a mixture of experts, in the three ways that checkpoints keep them. */
import { describeMatrix, describeStack, type Lookup, rowsOfMatrix } from './parameters';
import type { MatrixSource, MlpTensors, MoeConfig, MoeTensors } from './types';

/**
 * `module`: the layer's mlp. Experts lie in one tensor per matrix (MLX: `switch_mlp.gate_proj`), in one for gate and up together (original:
 * `experts.gate_up_proj`), or each in its own (Qwen3-Next: `experts.7.gate_proj`).
 * @throws EngineError as describeMatrix does, for the first expert's tensors at once and for others when they are asked for.
 */
export function describeMoe(lookup: Lookup, module: string, hiddenSize: number, config: MoeConfig): MoeTensors {
  const expert = describeExperts(lookup, module, hiddenSize, config);
  for (const index of new Set([0, config.experts - 1])) expert(index); // what is wrong with them is an error now
  return {
    count: config.experts,
    router: describeMatrix(lookup, `${module}.gate`, config.experts, hiddenSize),
    sharedGate: describeMatrix(lookup, `${module}.shared_expert_gate`, 1, hiddenSize),
    expert,
  };
}

function describeExperts(
  lookup: Lookup,
  module: string,
  hiddenSize: number,
  { experts, intermediateSize }: MoeConfig,
): (index: number) => MlpTensors {
  const has = (name: string) => lookup.directory.has(`${module}.${name}`) || lookup.directory.has(`${module}.${name}.weight`);
  const stack = (name: string, rows: number, cols: number) => describeStack(lookup, `${module}.${name}`, experts, rows, cols);
  if (has('experts.gate_up_proj')) {
    const both = stack('experts.gate_up_proj', 2 * intermediateSize, hiddenSize);
    const down = stack('experts.down_proj', hiddenSize, intermediateSize);
    return (index) => ({ ...halves(both(index), intermediateSize), downProj: down(index) });
  }
  if (has('switch_mlp.gate_proj')) {
    const gate = stack('switch_mlp.gate_proj', intermediateSize, hiddenSize);
    const up = stack('switch_mlp.up_proj', intermediateSize, hiddenSize);
    const down = stack('switch_mlp.down_proj', hiddenSize, intermediateSize);
    return (index) => ({ gateProj: gate(index), upProj: up(index), downProj: down(index) });
  }
  const matrix = (index: number, name: string, rows: number, cols: number) =>
    describeMatrix(lookup, `${module}.experts.${index}.${name}`, rows, cols);
  return (index) => ({
    gateProj: matrix(index, 'gate_proj', intermediateSize, hiddenSize),
    upProj: matrix(index, 'up_proj', intermediateSize, hiddenSize),
    downProj: matrix(index, 'down_proj', hiddenSize, intermediateSize),
  });
}

/** An expert's rows of gate, then as many of up. */
function halves(both: MatrixSource, rows: number): { gateProj: MatrixSource; upProj: MatrixSource } {
  const [run] = both.runs!;
  const whole = { ...both, rows: run!.tensorRows };
  const from = (firstRow: number) => rowsOfMatrix(whole, [{ firstRow, rows }]);
  return { gateProj: from(run!.firstRow), upProj: from(run!.firstRow + rows) };
}
