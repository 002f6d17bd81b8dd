/** What a memory plan says to people and programs: where every byte of GPU memory goes, what moves per token, how fast that is. */

/** A number of bytes, or text such as '4GB' (10^9), '512MB', '1.5GiB' (2^30). */
export type ByteBudget = number | string;

export type PlanUnit = {
  /** 'layers.3.mixer', 'layers.3.mlp', 'head 0' … in the order of use. */
  label: string;
  bytes: number;
  residency: 'resident' | 'streamed';
};

/**
 * Predicted cost of one decoded token, steady state: from rates measured for a moment, of a loaded engine from tokens that it decoded for it.
 * `readMs`, `uploadMs` and `computeMs` are those of each alone.
 */
export type PlanPrediction = {
  tokensPerSecond: number;
  readMs: number;
  /** Nothing of the model is stored yet: `readMs` is of a disk that gives 2 GB/s. */
  readAssumed?: true;
  uploadMs: number;
  computeMs: number;
  /** What decides. */
  bound: 'read' | 'upload' | 'compute';
};

export type PlanReport = {
  model: string;
  /** undefined: no limit was set, everything is resident. */
  gpuBudgetBytes: number | undefined;
  /** The smallest budget that this model accepts with this context and chunk. */
  smallestBudgetBytes: number;
  contextTokens: number;
  chunkTokens: number;
  /** Prompt tokens that one pass over the weights takes. */
  passTokens: number;
  /** GPU bytes by use; they add up to `total`, which is at most the budget. */
  gpu: {
    residentWeights: number;
    /** Reused slots that streamed weights pass through. */
    ring: number;
    /** Slots for the experts of a mixture. */
    experts: number;
    kvCache: number;
    recurrentState: number;
    /** Activations, logits, tables. */
    scratch: number;
    /** Upload buffers. */
    staging: number;
    total: number;
  };
  ring: { slots: number; slotBytes: number };
  /** Of a mixture: how many of its experts GPU memory holds at a time; the others are fetched when a token chooses them. */
  experts: { slots: number; of: number; slotBytes: number; perToken: number } | undefined;
  /** Bytes of all weights of the text model, as they lie in GPU memory. */
  weightBytes: number;
  /** Without experts: which of those are fetched depends on the text. */
  streamedBytesPerToken: number;
  /** Of experts, where a text reuses them as usual. */
  expectedExpertBytesPerToken: number;
  units: PlanUnit[];
  disk: {
    /** Where weights are kept: 'opfs', 'local' (files on this machine), 'none' (network for every token). */
    home: 'opfs' | 'local' | 'none';
    /** Why not all of it can be kept, in words for the user: no private file system, or a full disk. Undefined before that is known. */
    why: string | undefined;
    neededBytes: number;
    storedBytes: number;
    /** Undefined where the browser does not say. Chrome reports at least this much. */
    availableBytes: number | undefined;
    persisted: boolean | undefined;
  };
  /** undefined until speeds are known: where weights come over the network for every token, or are on their way. */
  prediction: PlanPrediction | undefined;
};

/**
 * What one decoded token takes, each part alone, milliseconds: reading its streamed bytes into memory, bringing as many from memory to
 * the GPU, both at once as the engine does it (reads go straight into staging where they can), computing.
 */
export type TokenCosts = { readMs: number; uploadMs: number; throughMs: number; computeMs: number };
