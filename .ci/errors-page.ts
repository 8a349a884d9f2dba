// Writes packages/fastify-tenancy/docs/errors.md from the code. Run it after adding or removing a
// code.
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'

import { root, sources } from './sources.ts'

/**
 * Codes of earlier releases that are no longer thrown. A code keeps its meaning and is never
 * reused.
 */
export const retiredCodes: readonly string[] = []

export const errorsPagePath: string = join(root, 'packages/fastify-tenancy/docs/errors.md')

export interface ErrorDefinition {
  readonly code: string
  readonly status: number
  readonly package: string
  /** The definition's docstring, without the status at its beginning. */
  readonly meaning: string
}

const docstring = /(?:\/\*\*(?<doc>(?:(?!\*\/)[^])*)\*\/\n)?[^\n]*(?:\n +)?/.source
const call = /(?:defineError|createError)\(\s*'(?<code>FST_TENANCY_\w+)'[^]*?\b(?<status>[45]\d\d)\b/.source
const definition = new RegExp(docstring + call, 'g')

/** Returns every `defineError('FST_TENANCY_…', status, …)` of the sources, by code. */
export function errorDefinitions (): ErrorDefinition[] {
  return sources().flatMap(({ folder, text }) =>
    [...text.matchAll(
      definition
    )].map(({ groups = {} }) => {
      const { code = '', status = '' } = groups
      // If a function creates the error, its docstring is used.
      const doc = groups.doc?.replace(/\s*\n\s*\*?\s*/g, ' ').trim() ??
        new RegExp(`/\\*\\*[\\s*]+(${status}: [^\\n]*?)(?: \\*/)?\\n`).exec(text)?.[1] ?? ''
      const name = folder === 'fastify-tenancy' ? folder : `@fastify-tenancy/${folder}`
      return { code, status: Number(status), package: name, meaning: doc.replace(/^\d+(, [^:]*)?: /, '') }
    })
  ).toSorted((a, b) => a.status - b.status || (a.code < b.code ? -1 : 1))
}

/**
 * Returns codes that are on the page and no longer in the sources. They must be listed as retired.
 */
export function forgottenCodes (): string[] {
  const page = existsSync(errorsPagePath) ? readFileSync(errorsPagePath, 'utf8') : ''
  const known = new Set([...errorDefinitions().map(({ code }) => code), ...retiredCodes])
  return [...new Set(page.match(/FST_TENANCY_\w+/g))].filter(code => !known.has(code))
}

const introduction =
  'Each error of the suite is a [Fastify error](https://github.com/fastify/fastify-error) ' +
  `with a \`code\`, a \`statusCode\` and, where the same request may succeed later, ` +
  `\`retryAfter\` in seconds, which is sent as \`retry-after\`. What a client sees holds no ` +
  `other tenant's id, no SQL, no host and no key; the original is in \`cause\`, for the ` +
  'log.'

export function errorsPage (): string {
  return `# Errors

${introduction}

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
