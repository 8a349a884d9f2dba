import { SetupInvalidError } from '@fastify-tenancy/postgres'
import { readFile, rename, writeFile } from 'node:fs/promises'
import * as v from 'valibot'

import type { ShardFinding, AcceptedFinding } from './report.ts'

const schema = v.strictObject({
  version: v.literal(1),
  accepted: v.array(
    v.strictObject({ id: v.string(), object: v.string(), shard: v.optional(v.string(), 'default') })
  )
})

/**
 * Returns the findings of a baseline. A missing file is an error, because a misspelt name would
 * accept nothing.
 *
 * @throws FST_TENANCY_SETUP_INVALID
 */
export async function readBaseline (file: string): Promise<AcceptedFinding[]> {
  try {
    return v.parse(schema, JSON.parse(await readFile(file, 'utf8'))).accepted
  } catch (error) {
    throw new SetupInvalidError(
      `the baseline '${file}' cannot be read: write it with writeBaseline (tenancy doctor --write-baseline)`,
      { cause: error }
    )
  }
}

/**
 * Writes a baseline of findings for a repository, one line each, in order. Findings of level `info`
 * need no acceptance.
 */
export async function writeBaseline (file: string, findings: readonly ShardFinding[]): Promise<void> {
  const accepted = findings.filter(({ level }) => level !== 'info').map(({ id, object, shard }) => ({
    id,
    object,
    ...(shard !== 'default' && { shard })
  }))
  const lines = accepted.map(entry => `    ${JSON.stringify(entry)}`).join(',\n')
  // Writes a temporary file and renames it, so that no process reads a partial file.
  await writeFile(
    `${file}.new`,
    `{\n  "version": 1,\n  "accepted": [${lines === '' ? '' : `\n${lines}\n  `}]\n}\n`
  )
  await rename(`${file}.new`, file)
}

/**
 * Splits findings by a baseline into new ones, the number of accepted ones, and baseline entries
 * that are no longer found.
 */
export function byCode (
  findings: readonly ShardFinding[],
  accepted: readonly AcceptedFinding[]
): { findings: ShardFinding[]; accepted: number; stale: AcceptedFinding[] } {
  const known = new Set(accepted.map(keyOf))
  const found = new Set(findings.map(keyOf))
  const fresh = findings.filter(finding => !known.has(keyOf(finding)))
  return {
    findings: fresh,
    accepted: findings.length - fresh.length,
    stale: accepted.filter(entry => !found.has(keyOf(entry)))
  }
}

function keyOf ({ id, object, shard }: AcceptedFinding): string {
  return JSON.stringify([id, object, shard])
}
