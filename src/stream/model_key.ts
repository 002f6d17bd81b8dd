/** What a model from the network is found by in the store, and how it is asked for again. */
import { checkUrl, urlLabel } from '../storage/http_request';
import { parseHubId } from '../storage/hub';

export type RemoteRef = string | URL;

const DEFAULT_HUB_HOST = 'huggingface.co';

/**
 * 'owner/name@revision' as asked for (with the hub's address before it, if it is another one), or a folder's URL without query.
 * @throws EngineError 'invalid-request' for a reference of neither form.
 */
export function modelKey(ref: RemoteRef, hubUrl?: string): string {
  if (isUrl(ref)) return withoutSlash(urlLabel(checkUrl(ref)));
  const { owner, name, revision } = parseHubId(ref as string);
  const id = `${owner}/${name}@${revision}`;
  const hub = hubUrl === undefined ? undefined : checkUrl(hubUrl);
  return hub === undefined || hub.host === DEFAULT_HUB_HOST ? id : `${withoutSlash(urlLabel(hub))}/${id}`;
}

/** The same model at a commit that is known already, so that nobody need be asked. */
export function atCommit(ref: RemoteRef, commit: string | undefined): RemoteRef {
  if (isUrl(ref) || commit === undefined) return ref;
  const { owner, name } = parseHubId(ref as string);
  return `${owner}/${name}@${commit}`;
}

const isUrl = (ref: RemoteRef): boolean => ref instanceof URL || /^https?:/i.test(ref);
const withoutSlash = (text: string): string => text.replace(/\/+$/, '');
