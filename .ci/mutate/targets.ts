// The sources that are mutated, and the tests that may kill their mutants.

/** Statement driver, row rewriting, unit of work, keys, resolver, limiter and cache. */
export const targets: readonly string[] = [
  'packages/core/src/{key,seal}.ts',
  'packages/database/src/{connection,kysely,rewrite,compilers}/*.ts',
  'packages/database/src/units-of-work.ts',
  'packages/{resolver,rate-limit,cache}/src/*.ts'
]

/**
 * Test folders by the beginning of a source's path. The first folder is tried first. `isolation` is
 * left out, because its sweeps take a minute each.
 */
const testFolders: readonly (readonly [path: string, folders: readonly string[]])[] = [
  ['packages/core/', ['core', 'cache', 'resolver']],
  ['packages/database/src/rewrite/', ['row', 'pg', 'suite']],
  ['packages/database/src/compilers/', ['row', 'strategies', 'pg', 'suite']],
  ['packages/database/', ['database', 'pg', 'harmless', 'strategies', 'suite', 'row']],
  ['packages/resolver/', ['resolver', 'suite']],
  ['packages/rate-limit/', ['rate-limit', 'suite']],
  ['packages/cache/', ['cache', 'suite']]
]

/** Returns the folders whose tests may kill a mutant of the source, the likeliest first. */
export function foldersFor (file: string): readonly string[] {
  return testFolders.find(([path]) => file.startsWith(path))?.[1] ?? []
}

/** Returns the name of the package that a source file belongs to. */
export function packageOf (file: string): string {
  return file.split('/')[1] ?? ''
}
