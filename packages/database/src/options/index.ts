export { levelFacts } from './level-facts.ts'
export { type ResolvedDatabaseOptions, resolveDatabaseOptions } from './options.ts'
