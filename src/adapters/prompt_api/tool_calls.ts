/** Tool calls put together from the pieces that a stream brings. */
import type { ToolCall, ToolCallDelta } from '../../api';

export type ToolCalls = { add(piece: ToolCallDelta): void; all(): ToolCall[] };

export function toolCalls(): ToolCalls {
  const calls: Extract<ToolCall, { type: 'function' }>[] = [];
  return {
    add({ index, id, function: called }) {
      const known = calls[index];
      if (known) known.function.arguments += called?.arguments ?? '';
      else
        calls[index] = {
          id: id ?? `call_${index}`,
          type: 'function',
          function: { name: called?.name ?? '', arguments: called?.arguments ?? '' },
        };
    },
    all: () => calls.filter(Boolean),
  };
}

export function combine(calls: ToolCalls, pieces: readonly ToolCallDelta[] = []): void {
  for (const piece of pieces) calls.add(piece);
}
