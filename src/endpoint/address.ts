import { EngineError } from '../errors';

/** Where an OpenAI-compatible server answers, checked. */
export type EndpointAddress = {
  /** Without a slash at the end; '/chat/completions' is appended. */
  base: string;
  origin: string;
  /** With its port; what a page shows. */
  host: string;
  /** This machine itself. */
  loopback: boolean;
};

/**
 * An https address, or http on loopback: what is said to a model must not cross a network in the clear.
 * @throws EngineError 'invalid-request'
 */
export function endpointAddress(text: string | URL): EndpointAddress {
  const url = URL.canParse(String(text)) ? new URL(text) : undefined;
  if (!url) throw refusal('must be a whole address, such as https://llm.example/v1');
  const loopback = isLoopback(url.hostname);
  if (url.protocol !== 'https:' && !(url.protocol === 'http:' && loopback))
    throw refusal('must be https, or http on this machine (localhost, 127.0.0.1, [::1])');
  // Both end up in logs and histories. What is wrong is said without the address, which may hold a secret.
  if (url.username !== '' || url.password !== '') throw refusal('must hold no user name or password; pass a key as apiKey');
  if (url.search !== '' || url.hash !== '') throw refusal('must have no query and no fragment; pass a key as apiKey');
  // Not of href, which keeps the sign of an empty query or fragment.
  const base = `${url.origin}${url.pathname}`.replace(/\/+$/, '');
  return { base, origin: url.origin, host: url.host, loopback };
}

function refusal(problem: string): EngineError {
  return new EngineError('invalid-request', `The endpoint's address ${problem}.`, { field: 'endpoint' });
}

/** The names and numbers that browsers themselves hold to be this machine. */
function isLoopback(hostname: string): boolean {
  return hostname === 'localhost' || hostname.endsWith('.localhost') || hostname === '[::1]' || /^127(\.\d+){3}$/.test(hostname);
}
