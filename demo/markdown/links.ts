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
  if (url.protocol === 'mailto:') return mailLink(url);
  if (url.protocol !== 'https:' || url.username !== '' || url.password !== '') return undefined;
  return { href: url.href, place: url.host };
}

export function isSafeLink(address: string): boolean {
  return linkOf(address) !== undefined;
}

/** As it is written, escapes and all: decoded it could turn the direction of the text. Who else would get the mail could not be seen. */
function mailLink({ href, pathname, searchParams }: URL): Link | undefined {
  const hidden = [...searchParams.keys()].some((name) => /^(to|cc|bcc)$/i.test(name.trim()));
  return hidden ? undefined : { href, place: pathname };
}
