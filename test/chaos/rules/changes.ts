import { describe, isExcused, isServed, type Call, type Change, type History, type Rule } from '../history.ts'

/** A change of a tenant is in effect for writes at once, and for all else within its bound. */
export const changes: Rule = {
  name: 'changes of tenants heard in time',
  check (history) {
    return history.changes.flatMap((change, at) => {
      const next = history.changes.slice(at + 1).find(({ tenant }) => tenant === change.tenant)
      return history.calls.filter(call => call.tenant === change.tenant && isBetween(call, change, next))
        .flatMap(call => problemOf(history, change, call) ?? [])
    })
  }
}

function isBetween ({ sent, done }: Call, { end }: Change, next: Change | undefined): boolean {
  return sent > end && done < (next?.begin ?? Number.POSITIVE_INFINITY)
}

function problemOf (
  { bounds, faults }: History,
  { kind, slug, end }: Change,
  call: Call
): string | undefined {
  const isWrite = call.operation === 'write' || call.operation === 'transfer'
  // The database locks the tenant out, whatever a process knows.
  if (kind === 'suspend' && isWrite && isServed(call)) return `a suspended tenant writes: ${describe(call)}`
  if (call.sent <= end + bounds.changeMs || isExcused(call, faults, bounds.changeMs)) return undefined
  if (kind === 'suspend' && isServed(call)) return `a suspended tenant is served: ${describe(call)}`
  if (kind === 'resume' && call.status === 403) return `a resumed tenant is refused: ${describe(call)}`
  if (kind !== 'rename') return undefined
  if (call.slug !== slug && isServed(call)) return `the old name is served: ${describe(call)}`
  return call.slug === slug && call.status === 404 ? `the new name is unknown: ${describe(call)}` : undefined
}
