/**
 * Finds what the tests need from the machine: Chromium, Firefox, and the software Vulkan drivers SwiftShader and llvmpipe.
 * `npm test` installs what is missing: Debian's packages where we may (root, apt-get), else Playwright's own download.
 *   node scripts/browsers.mjs [--install]   prints what there is; exits with 1 if something is missing
 * SLUICE_CHROMIUM and SLUICE_FIREFOX name other browsers.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { homedir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { chromium, firefox } from 'playwright-core';

const root = fileURLToPath(new URL('..', import.meta.url));

const kinds = {
  chromium: {
    title: 'Chromium',
    driver: chromium,
    override: 'SLUICE_CHROMIUM',
    commands: ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable'],
    files: [
      ...macApp('Google Chrome.app/Contents/MacOS/Google Chrome'),
      ...macApp('Chromium.app/Contents/MacOS/Chromium'),
      ...windowsApp('Google/Chrome/Application/chrome.exe'),
    ],
    aptPackage: 'chromium',
  },
  firefox: {
    title: 'Firefox',
    driver: firefox,
    override: 'SLUICE_FIREFOX',
    commands: ['firefox-esr', 'firefox'],
    files: [...macApp('Firefox.app/Contents/MacOS/firefox'), ...windowsApp('Mozilla Firefox/firefox.exe')],
    aptPackage: 'firefox-esr',
  },
};

/** What there is now; a field is undefined where nothing was found. `isPlaywrights`: its own build, which only its own driver speaks to. */
export function findBrowsers() {
  const chromium = findBrowser('chromium');
  return {
    chromium,
    firefox: findBrowser('firefox'),
    swiftshader: findSwiftShader(chromium?.path),
    llvmpipe: findLlvmpipe(),
  };
}

/** The same, after installing what is missing where that is possible. Prints one line for each thing that stays missing. */
export function ensureBrowsers() {
  const lacking = missingParts(findBrowsers());
  if (lacking.length > 0 && canUseApt()) installWithApt(lacking.map(({ aptPackage }) => aptPackage));
  for (const [name] of Object.entries(kinds)) {
    if (!findBrowser(name)) installWithPlaywright(name);
  }
  const found = findBrowsers();
  for (const { complaint } of missingParts(found)) console.error(complaint);
  return found;
}

/** The environment that makes a Vulkan loader see this driver only; without one it sees what the machine has. */
export function driverEnvironment(icd) {
  return icd === undefined ? {} : { VK_ICD_FILENAMES: icd, XDG_RUNTIME_DIR: process.env.XDG_RUNTIME_DIR ?? '/tmp' };
}

function findBrowser(name) {
  const { driver, override, commands, files } = kinds[name];
  const named = process.env[override];
  if (named) {
    if (!existsSync(named)) throw new Error(`${override} is ${named}, which does not exist. Correct it or unset it.`);
    return { path: named, isPlaywrights: false };
  }
  const path = commands.map(onPath).find(Boolean) ?? files.find((file) => existsSync(file));
  if (path) return { path, isPlaywrights: false };
  const downloaded = driver.executablePath();
  return downloaded && existsSync(downloaded) ? { path: downloaded, isPlaywrights: true } : undefined;
}

/** Chromium ships SwiftShader beside itself. Software drivers are needed on Linux only: elsewhere WebGPU does not go through Vulkan. */
function findSwiftShader(chromiumPath) {
  if (process.platform !== 'linux') return undefined;
  const folders = ['/usr/lib/chromium', '/usr/lib/chromium-browser', '/opt/google/chrome'];
  if (chromiumPath) folders.push(dirname(chromiumPath));
  return folders.map((folder) => join(folder, 'vk_swiftshader_icd.json')).find((file) => existsSync(file));
}

function findLlvmpipe() {
  if (process.platform !== 'linux') return undefined;
  for (const folder of ['/usr/share/vulkan/icd.d', '/usr/local/share/vulkan/icd.d', '/etc/vulkan/icd.d']) {
    const name = existsSync(folder) ? readdirSync(folder).find((file) => /^lvp_icd.*\.json$/.test(file)) : undefined;
    if (name) return join(folder, name);
  }
  return undefined;
}

function missingParts(found) {
  const missing = Object.entries(kinds)
    .filter(([name]) => !found[name])
    .map(([, { title, override, aptPackage }]) => ({
      aptPackage,
      complaint: `Missing: ${title}. Install it (Debian: apt-get install ${aptPackage}) or set ${override} to its path.`,
    }));
  if (process.platform === 'linux' && !found.swiftshader) {
    missing.push({
      aptPackage: 'chromium',
      complaint:
        'Missing: the SwiftShader driver vk_swiftshader_icd.json, which comes with Chromium (Debian: apt-get install chromium).',
    });
  }
  if (process.platform === 'linux' && !found.llvmpipe) {
    missing.push({
      aptPackage: 'mesa-vulkan-drivers',
      complaint: 'Missing: the llvmpipe driver lvp_icd*.json, for tests with f16 (Debian: apt-get install mesa-vulkan-drivers).',
    });
  }
  return missing;
}

function canUseApt() {
  return process.getuid?.() === 0 && onPath('apt-get') !== undefined;
}

function installWithApt(packages) {
  const names = [...new Set(packages)];
  console.log(`installing ${names.join(', ')} with apt-get`);
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  const options = { env, stdio: ['ignore', 'ignore', 'inherit'] };
  spawnSync('apt-get', ['update', '-q'], options);
  spawnSync('apt-get', ['install', '-y', '-q', '--no-install-recommends', ...names], options);
}

function installWithPlaywright(name) {
  console.log(`downloading ${kinds[name].title} with Playwright`);
  const cli = join(root, 'node_modules/playwright-core/cli.js');
  spawnSync(process.execPath, [cli, 'install', name], { stdio: ['ignore', 'inherit', 'inherit'] });
}

function onPath(command) {
  const folders = (process.env.PATH ?? '').split(delimiter).filter(Boolean);
  return folders.map((folder) => join(folder, command)).find((file) => existsSync(file));
}

function macApp(path) {
  return process.platform === 'darwin' ? [join('/Applications', path), join(homedir(), 'Applications', path)] : [];
}

function windowsApp(path) {
  return ['PROGRAMFILES', 'PROGRAMFILES(X86)', 'LOCALAPPDATA'].flatMap((name) =>
    process.env[name] ? [join(process.env[name], path)] : [],
  );
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const found = process.argv.includes('--install') ? ensureBrowsers() : findBrowsers();
  console.log(JSON.stringify(found, null, 2));
  if (missingParts(found).length > 0) process.exitCode = 1;
}
