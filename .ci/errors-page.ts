// Writes packages/fastify-tenancy/docs/errors.md from the definitions in the code: run it when a code comes or goes.
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'

import { root, sources, withDocsOnOneLine } from './sources.ts'

/** Codes that an earlier release threw and none does now. A code keeps its meaning for ever, so none is used again. */
export const retiredCodes: readonly string[] = []

export const errorsPagePath: string = join(root, 'packages/fastify-tenancy/docs/errors.md')

export interface ErrorDefinition {
  readonly code: string
  readonly status: number
  readonly package: string
  /** The definition's docstring, without the status that it begins with. */
  readonly meaning: string
}

/** Every `defineError('FST_TENANCY_…', status, …)` of the sources, by code. */
export function errorDefinitions (): ErrorDefinition[] {
  return sources().flatMap(({ folder, text }) =>
    [...withDocsOnOneLine(text).matchAll(
      /(?:\/\*\* (?<doc>[^\n]*) \*\/\n)?[^\n]*(?:\n +)?(?:defineError|createError)\(\s*'(?<code>FST_TENANCY_\w+)'[^]*?\b(?<status>[45]\d\d)\b/g
    )].map(({ groups = {} }) => {
      const { code = '', status = '' } = groups
      // Where a function makes the error, the sentence is that function's.
      const doc = groups.doc ??
        new RegExp(`/\\*\\*[\\s*]+(${status}: [^\\n]*?)(?: \\*/)?\\n`).exec(withDocsOnOneLine(text))?.[1] ??
        ''
      const name = folder === 'fastify-tenancy' ? folder : `@fastify-tenancy/${folder}`
      return { code, status: Number(status), package: name, meaning: doc.replace(/^\d+(, [^:]*)?: /, '') }
    })
  ).toSorted((a, b) => a.status - b.status || (a.code < b.code ? -1 : 1))
}

/** Codes that the page on disk has and the sources have no longer. They must be retired, not forgotten. */
export function forgottenCodes (): string[] {
  const page = existsSync(errorsPagePath) ? readFileSync(errorsPagePath, 'utf8') : ''
  const known = new Set([...errorDefinitions().map(({ code }) => code), ...retiredCodes])
  return [...new Set(page.match(/FST_TENANCY_\w+/g))].filter(code => !known.has(code))
}

export function errorsPage (): string {
  return `# Errors

Each error of the suite is a [Fastify error](https://github.com/fastify/fastify-error) with a \`code\`, a \`statusCode\` and, where the same request may succeed later, \`retryAfter\` in seconds, which is sent as \`retry-after\`. What a client sees holds no other tenant's id, no SQL, no host and no key; the original is in \`cause\`, for the log.

A code keeps its meaning for ever. This page is written by \`node .ci/errors-page.ts\` from the definitions.

| code | status | when | package |
|---|---|---|---|
${
    errorDefinitions().map(({ code, status, meaning, package: name }) =>
      `| \`${code}\` | ${status} | ${meaning.replace(/\.$/, '').replaceAll('|', '\\|')} | \`${name}\` |`
    ).join('\n')
  }

Retired: ${retiredCodes.length === 0 ? 'none' : retiredCodes.map(code => `\`${code}\``).join(', ')}.
`
}

if (import.meta.main) {
  const forgotten = forgottenCodes()
  if (forgotten.length > 0)
    throw new Error(`No code is forgotten: add ${forgotten.join(', ')} to retiredCodes`)
  mkdirSync(dirname(errorsPagePath), { recursive: true })
  writeFileSync(errorsPagePath, errorsPage())
}
