/** Where the doctor's files lie while it looks: `sluice/v1/doctor`, so that everything of Sluice's can be found and deleted under one folder. */
import { opfsDirectory, type StoreDirectory } from '../storage/store/directory';

/** Where earlier versions put theirs: beside the folder. */
const earlier = ['sluice-doctor-probe', 'sluice-probe'];

/** @throws where the browser keeps no files: a private window, an insecure address. */
export async function ownFolder(): Promise<StoreDirectory> {
  let at = opfsDirectory(await navigator.storage.getDirectory());
  for (const name of ['sluice', 'v1', 'doctor']) at = (await at.directory(name, { create: true }))!;
  return at;
}

/** What a visit left behind whose tab died. A file that another tab has open stays, and is that one's to remove. */
export async function removeLeftovers(): Promise<void> {
  const folder = await ownFolder();
  const top = opfsDirectory(await navigator.storage.getDirectory());
  const old = (await folder.list()).map(({ name }) => folder.remove(name));
  await Promise.allSettled([...old, ...earlier.map((name) => top.remove(name))]);
}
