/** The step after `step`, whose token was followed by `id`. */
export function advanceReference(step: { tokens: number; position: number }, id: number, stops: readonly number[]) {
  const position = step.position + step.tokens;
  return { tokens: stops.includes(id) ? 0 : step.tokens, position };
}
