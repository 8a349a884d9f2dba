export { levelFacts } from './level-facts.ts'
export { type ResolvedDatabaseOptions } from './options.ts'
export { resolveDatabaseOptions } from './resolve-options.ts'
