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
 * Reads a baseline. A file that is missing is an error: with a misspelt name nothing would be compared.
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

/** Writes a baseline of findings, for a repository: one line each, in order. What is only `info` needs no acceptance. */
export async function writeBaseline (file: string, findings: readonly ShardFinding[]): Promise<void> {
  const accepted = findings.filter(({ level }) => level !== 'info').map(({ id, object, shard }) => ({
    id,
    object,
    ...(shard !== 'default' && { shard })
  }))
  const lines = accepted.map(entry => `    ${JSON.stringify(entry)}`).join(',\n')
  // Beside it and then in its place: nobody reads half a file.
  await writeFile(
    `${file}.new`,
    `{\n  "version": 1,\n  "accepted": [${lines === '' ? '' : `\n${lines}\n  `}]\n}\n`
  )
  await rename(`${file}.new`, file)
}

/** Findings that a baseline does not hold, and what it holds that is not found any more. */
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
