/** The Content-Security-Policies that <sluice-chat> is tested under. The README gives the same (test/docs/text.test.ts). */

const END = "connect-src 'self'; base-uri 'none'; require-trusted-types-for 'script'";

/** All files on the page's own origin. */
export const STRICT_CSP = `default-src 'none'; script-src 'self'; style-src 'self'; worker-src 'self'; ${END}`;

/** All files on the origin `cdn`, the worker through a blob. */
export const blobCsp = (cdn: string): string => `default-src 'none'; script-src 'self' ${cdn}; worker-src blob: ${cdn}; ${END}`;

/** The worker on the page's own origin, all else on the origin `cdn`. */
export const ownWorkerCsp = (cdn: string): string => `default-src 'none'; script-src 'self' ${cdn}; worker-src 'self'; ${END}`;
