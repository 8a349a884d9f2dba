import type { TenantScope, TenantWork } from './scope.ts'

/** What makes a scope's handle: `app.tenantDatabase`, `app.tenantCache`. */
export interface HandleMaker {
  forScope(scope: TenantScope): unknown
}

/** The handles of a scope, each made when it is first asked for. A plugin that is not registered adds none. */
export function tenantWork (
  scope: TenantScope,
  makers: Readonly<Record<string, HandleMaker | undefined>>
): TenantWork {
  // Read at once, so that the tenant is watched from the start: this work may go on for long.
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
