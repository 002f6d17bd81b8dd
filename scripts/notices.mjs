/** Licence notices of the libraries that a build takes in: their licences ask that the text goes along. */
import { readdirSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';

export const NOTICES = 'THIRD-PARTY-NOTICES.txt';
const TEXTS = /^(licen[cs]e|notice|copying)/i;
const PACKAGE = /^\0?(.*\/node_modules\/(?:@[^/]+\/)?[^/?]+)\//;
const HEAD = 'Sluice contains the following libraries.\n';

/** @returns {import('vite').Plugin} adds to `packages` the folder of each package that is bundled */
export function gatherPackages(packages) {
  return {
    name: 'sluice:gather-packages',
    apply: 'build',
    generateBundle(_, bundle) {
      for (const { moduleIds = [] } of Object.values(bundle)) {
        for (const id of moduleIds) {
          const [, folder] = PACKAGE.exec(id.replaceAll('\\', '/')) ?? [];
          if (folder) packages.add(folder);
        }
      }
    },
  };
}

/** @returns {import('vite').Plugin} writes the notices of `packages`, those that workers take in among them */
export function emitNotices(packages) {
  return {
    name: 'sluice:notices',
    apply: 'build',
    enforce: 'post',
    generateBundle: {
      order: 'post',
      handler() {
        this.emitFile({ type: 'asset', fileName: NOTICES, source: noticesText(packages) });
      },
    },
  };
}

/** @throws Error where a package has no licence text */
export function noticesText(packages) {
  const notices = [...packages].map(notice).sort();
  return [HEAD, ...notices].join(`\n${'-'.repeat(80)}\n\n`);
}

function notice(folder) {
  const { name, version, license } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));
  const files = readdirSync(folder).filter((file) => TEXTS.test(file));
  const texts = files.length > 0 ? files.map((file) => readFileSync(join(folder, file), 'utf8')) : [commonText(license)];
  if (texts.includes(undefined)) throw new Error(`${name ?? basename(folder)} has no licence text, so it cannot be handed out.`);
  return `${name} ${version}, ${license}\n\n${texts.map((text) => text.trim()).join('\n\n')}\n`;
}

/** Some packages only name their licence. This repository's own is one of those. */
function commonText(license) {
  return license === 'Apache-2.0' ? readFileSync(new URL('../LICENSE', import.meta.url), 'utf8') : undefined;
}
