/**
 * Why a fetch found nobody. Browsers tell a page only that it failed, so what can be asked is asked, and the rest is said as advice.
 * Loopback is the case that users meet: a page on https and a server on their own machine.
 */
import { EngineError } from '../errors';
import type { EndpointAddress } from './address';

/** Of Chromium's permission for a page that talks to this machine: the newer name, which is about loopback alone, and the older one. */
const PERMISSIONS = ['loopback-network', 'local-network-access'];

const CORS = 'Check that the server runs and sends CORS headers for this page';
const SERVERS = 'Ollama: OLLAMA_ORIGINS; vLLM: --allowed-origins; LM Studio: “Enable CORS”; llama.cpp sends them by itself';

export async function unreachable(address: EndpointAddress, cause: unknown): Promise<EngineError> {
  const text = address.loopback ? await loopbackAdvice(address) : `${address.host} cannot be reached. ${CORS}.`;
  return new EngineError('endpoint', text, { cause });
}

async function loopbackAdvice({ host }: EndpointAddress): Promise<string> {
  const here = `The server on this machine, ${host}, cannot be reached`;
  if (globalThis.location?.protocol !== 'https:') return `${here}. ${CORS} (${SERVERS}).`;
  const permission = await loopbackPermission();
  if (permission === 'denied')
    return (
      `${here}: the browser does not let this page talk to this machine. Allow it in the site settings beside the address (“local network ` +
      'access” or the like) and try again. A page in a frame also needs allow="loopback-network; local-network-access" on its frame.'
    );
  const browser =
    permission === undefined
      ? ' Safari never lets an https page reach http on this machine: use another browser, put the server behind https, or open the page from localhost.'
      : ' If the browser asks whether the page may reach this machine, allow it.';
  return `${here} from this https page.${browser} ${CORS} (${SERVERS}).`;
}

/** undefined where the browser knows no such permission. */
async function loopbackPermission(): Promise<PermissionState | undefined> {
  for (const name of PERMISSIONS) {
    try {
      return (await navigator.permissions.query({ name: name as PermissionName })).state;
    } catch {
      // not a permission of this browser
    }
  }
  return undefined;
}
