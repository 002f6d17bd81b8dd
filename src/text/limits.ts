/** Apart from the code that keeps to it, so that the engine's worker can name it without holding the template interpreter. */
export const DEFAULT_MAX_OUTPUT_BYTES = 8 * 1024 * 1024;
