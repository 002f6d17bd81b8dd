export type FoundBrowser = { path: string; isPlaywrights: boolean };
export type FoundBrowsers = {
  chromium: FoundBrowser | undefined;
  firefox: FoundBrowser | undefined;
  /** Paths of Vulkan ICD files; Linux only. */
  swiftshader: string | undefined;
  llvmpipe: string | undefined;
};

export function findBrowsers(): FoundBrowsers;
export function ensureBrowsers(): FoundBrowsers;
export function driverEnvironment(icd: string | undefined): Record<string, string>;
