import type { FindingRow } from './finding.ts'
import type { Check } from './finding.ts'

/**
 * The first minor version of each major version that hides rows reliably. Earlier versions leaked
 * values of hidden rows through planner statistics.
 */
const safeMinors: Readonly<Record<number, number>> = { 13: 22, 14: 19, 15: 14, 16: 10, 17: 6 }
const firstMajor = 13

export const serverChecks: Readonly<Record<string, Check>> = {
  D601: { level: 'error', meaning: 'this version has known ways around row-level security' }
}

/** Returns a finding for a server without the fixes that RLS needs. `version` is such as 150018. */
export function checkVersion (version: number): FindingRow | undefined {
  const [major, minor] = [Math.floor(version / 10_000), version % 10_000]
  const safe = safeMinors[major] ?? 0
  if (major >= firstMajor && minor >= safe) return undefined
  return {
    id: 'D601',
    object: `server ${major}.${minor}`,
    fix: `-- update PostgreSQL to ${major < firstMajor ? 'a supported version' : `${major}.${safe} or newer`}`
  }
}
