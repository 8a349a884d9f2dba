import type { TenantScope, TenantWork } from './scope.ts'

/** A factory of scope handles: `app.tenantDatabase`, `app.tenantCache`. */
export interface HandleMaker {
  forScope(scope: TenantScope): unknown
}

/**
 * Returns the handles of a scope, each created at its first use. A plugin that is not registered
 * adds none.
 */
export function tenantWork (
  scope: TenantScope,
  makers: Readonly<Record<string, HandleMaker | undefined>>
): TenantWork {
  // Read the signal now, so that the tenant is watched from the start, because this work may run
  // long.
  const { tenant, log, signal } = scope
  const work = { tenant, log, signal }
  for (const [name, maker] of Object.entries(makers)) {
    if (maker !== undefined)
      Object.defineProperty(work, name, {
        enumerable: true,
        get: () => open(scope, maker)
      })
  }
  return Object.freeze(work as TenantWork)
}

function open (scope: TenantScope, maker: HandleMaker): unknown {
  scope.assertOpen()
  return maker.forScope(scope)
}
