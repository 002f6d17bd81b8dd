/** The pages of docs/api/ by file name, from the declarations in `typesDir` (a dist/lib/types). */
export function referencePages(typesDir: string): Map<string, string>;
