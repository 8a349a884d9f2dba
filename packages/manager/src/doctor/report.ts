import type { Finding, Level } from '@fastify-tenancy/postgres/doctor'

/** A finding, and the shard that it is of. */
export interface ShardFinding extends Finding {
  /** `'default'`, or a name of `database.shards`. */
  readonly shard: string
}

/** What {@link Manager.doctor} answers. */
export interface DoctorReport {
  /** How far the parts of the application are kept apart, L0 to L4: the lowest of all shards. */
  readonly level: Level
  /** What keeps the next level away. */
  readonly reasons: readonly string[]
  /** Errors first. Without those that the baseline holds. */
  readonly findings: readonly ShardFinding[]
  /** How many the baseline holds. */
  readonly accepted: number
  /** What the baseline holds and is not found any more: to be taken from it. */
  readonly stale: readonly AcceptedFinding[]
}

const rank = { error: 0, warning: 1, info: 2 } as const

/** Errors first, then by check, shard and object. */
export function sorted (findings: readonly ShardFinding[]): ShardFinding[] {
  return findings.toSorted((a, b) =>
    rank[a.level] - rank[b.level] || byLevel(a.id, b.id) || byLevel(a.shard, b.shard) ||
    byLevel(a.object, b.object)
  )
}

/**
 * Leaves each statement to the first finding of its shard that has it, so that no statement is run twice: the second time it
 * may fail, or undo what was done since.
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
    const fix = own.length > 0 ? own.join('\n') : `-- mended by the fix of ${same?.id} ${same?.object}`
    return { ...finding, fix }
  })
}

function byLevel (a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}

/** What is taken for granted: findings of a database that was there before. */
export interface AcceptedFinding extends Pick<Finding, 'id' | 'object'> {
  readonly shard: string
}
