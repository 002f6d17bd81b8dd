/** What changes from one step to the next; the WGSL twin is wgsl/shared/step.wgsl. */
export type StepState = {
  /** Tokens in this step. */
  tokens: number;
  /** Position of the first of them in its sequence. */
  position: number;
  /** First row of x that the head reads. */
  firstRow: number;
  /** Recurrent and conv state before and after the step; they may be equal. */
  sourceSlot: number;
  targetSlot: number;
  /** First tile of query rows that attention_tiled takes. */
  firstTile: number;
};

export const stepBytes = 32;
/** Byte offset of sourceSlot and targetSlot. */
export const slotsAt = 12;
/** Byte offset of firstTile. */
export const firstTileAt = 20;

export function packStep(step: Partial<StepState>): Uint32Array<ArrayBuffer> {
  return Uint32Array.of(
    step.tokens ?? 0,
    step.position ?? 0,
    step.firstRow ?? 0,
    step.sourceSlot ?? 0,
    step.targetSlot ?? 0,
    step.firstTile ?? 0,
    0,
    0,
  );
}
