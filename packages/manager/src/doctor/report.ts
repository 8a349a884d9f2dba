import { printable } from '@fastify-tenancy/core/names'
import type { Finding, Level } from '@fastify-tenancy/postgres/doctor'

/** A finding with its shard. */
export interface ShardFinding extends Finding {
  /** `'default'`, or a name of `database.shards`. */
  readonly shard: string
}

/** The result of {@link Manager.doctor}. */
export interface DoctorReport {
  /** Isolation level of the application's logins, L0 to L4: the lowest of all shards. */
  readonly level: Level
  /** What prevents the next level. */
  readonly reasons: readonly string[]
  /** Errors first. Without findings that the baseline accepts. */
  readonly findings: readonly ShardFinding[]
  /** Number of findings that the baseline accepts. */
  readonly accepted: number
  /** Baseline entries that are no longer found, to remove from the file. */
  readonly stale: readonly AcceptedFinding[]
}

const rank = { error: 0, warning: 1, info: 2 } as const

/** Returns findings in order: errors first, then by check, shard and object. */
export function sorted (findings: readonly ShardFinding[]): ShardFinding[] {
  return findings.toSorted((a, b) =>
    rank[a.level] - rank[b.level] || byLevel(a.id, b.id) || byLevel(a.shard, b.shard) ||
    byLevel(a.object, b.object)
  )
}

/**
 * Keeps each fix statement only in the first finding of its shard, so that no statement is run
 * twice. A second run may fail, or undo later changes.
 */
export function withoutRepeats (findings: readonly ShardFinding[]): ShardFinding[] {
  const first = new Map<string, ShardFinding>()
  return findings.map(finding => {
    const own = finding.fix.split('\n').filter(line => {
      const key = `${finding.shard}\n${line.replace(/;?\s*$/, '')}`
      const isRepeat = !line.startsWith('--') && first.has(key)
      if (!isRepeat) first.set(key, finding)
      return !isRepeat
    })
    const same = first.get(`${finding.shard}\n${finding.fix.split('\n')[0]?.replace(/;?\s*$/, '')}`)
    // The comment is pasted with the rest, so a line break in a name must not end it.
    const other = `${same?.id} ${printable(same?.object ?? '')}`
    const fix = own.length > 0 ? own.join('\n') : `-- fixed by the fix of ${other}`
    return { ...finding, fix }
  })
}

function byLevel (a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}

/** An accepted finding, such as one of a database that existed before. */
export interface AcceptedFinding extends Pick<Finding, 'id' | 'object'> {
  readonly shard: string
}
