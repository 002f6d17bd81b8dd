/** Where a link in model output may lead: https and mailto, by a click, with the host in sight. Pure. */

export type Link = {
  href: string;
  /** Host or mail address: what the words of a link may lie about. In ASCII, so that look-alike letters show. */
  place: string;
};

/** Undefined for everything that is not an https or mailto address, relative addresses included. */
export function linkOf(address: string): Link | undefined {
  if (!URL.canParse(address)) return undefined;
  const url = new URL(address);
  if (url.protocol === 'mailto:') return { href: url.href, place: decoded(url.pathname) };
  if (url.protocol !== 'https:' || url.username !== '' || url.password !== '') return undefined;
  return { href: url.href, place: url.host };
}

export function isSafeLink(address: string): boolean {
  return linkOf(address) !== undefined;
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text; // a stray %: shown as it is
  }
}
