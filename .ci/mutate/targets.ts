// The sources that are mutated, and the tests that may kill their mutants.

/** Statement driver, row rewriting, unit of work, keys, resolver, limiter and cache. */
export const targets: readonly string[] = [
  'packages/core/src/{key,seal}.ts',
  'packages/database/src/{connection,kysely,rewrite,compilers}/*.ts',
  'packages/database/src/units-of-work.ts',
  'packages/{resolver,rate-limit,cache}/src/*.ts'
]

/**
 * Test folders by package. The folder that mirrors the package is first. `isolation` is left out,
 * because its sweeps take a minute each.
 */
export const testFolders: Readonly<Record<string, readonly string[]>> = {
  core: ['core', 'cache', 'resolver'],
  database: ['database', 'row', 'pg', 'harmless', 'strategies', 'suite'],
  resolver: ['resolver', 'suite'],
  'rate-limit': ['rate-limit', 'suite'],
  cache: ['cache', 'suite']
}

/** Returns the name of the package that a source file belongs to. */
export function packageOf (file: string): string {
  return file.split('/')[1] ?? ''
}
