import { createRequire } from 'node:module'

import type { Choices, Language } from './choices.ts'

// All packages of the suite have the same version.
const { version } = createRequire(import.meta.url)('create-fastify-tenancy/package.json') as {
  version: string
}
const suite = `^${version}`

/** The first Node that runs an application. TypeScript needs one that strips types by itself. */
export const firstNode: Readonly<Record<Language, string>> = { ts: '22.18', js: '22.12' }

/** Options of the compiler for an application, whose files Node runs as they are. */
export const compilerOptions: object = {
  target: 'es2024',
  module: 'nodenext',
  types: ['node'],
  strict: true,
  noEmit: true,
  verbatimModuleSyntax: true,
  erasableSyntaxOnly: true,
  allowImportingTsExtensions: true,
  skipLibCheck: true
}

/** Returns the `package.json` of a new application. */
export function applicationManifest ({ name, database, redis, language }: Choices): object {
  const pglite = { '@electric-sql/pglite': '^0.5.16' }
  return {
    name,
    version: '0.0.0',
    private: true,
    type: 'module',
    engines: { node: `>=${firstNode[language]}` },
    scripts: {
      dev: `node --watch src/dev.${language}`,
      start: `node src/server.${language}`,
      migrate: 'tenancy migrate',
      test: `node --test "test/*.test.${language}"`,
      ...(language === 'ts' && { typecheck: 'tsc' })
    },
    dependencies: {
      ...(database === 'pglite' && pglite),
      '@fastify-tenancy/cli': suite,
      '@fastify-tenancy/manager': suite,
      '@fastify/rate-limit': '^11.2.0',
      fastify: '^5.12.8',
      'fastify-tenancy': suite,
      ...(redis && { ioredis: '^6.0.0' }),
      kysely: '^0.29.9',
      ...(database === 'postgres' && { pg: '^8.23.1' })
    },
    devDependencies: {
      ...(database === 'postgres' && pglite),
      '@fastify-tenancy/testing': suite,
      ...(language === 'ts' && { '@types/node': '^24.19.2', typescript: '^6.0.2' })
    }
  }
}
