import { tenantConflict, type TenantRecord, type TenantRef } from '@fastify-tenancy/core'
import { isDeepStrictEqual } from 'node:util'

import type { ManagerContext } from '../context/context.ts'
import { changeTenant } from '../operations/audit.ts'
import { findTenant } from '../operations/find.ts'
import { assertStatus } from '../operations/state.ts'
import { resolveUpdateInput, type UpdateInput } from './input.ts'

export async function updateTenant (
  context: ManagerContext,
  ref: TenantRef,
  input: UpdateInput
): Promise<TenantRecord> {
  const { version, ...given } = resolveUpdateInput(input)
  const tenant = await findTenant(context, ref)
  if (version !== undefined && version !== tenant.version)
    throw tenantConflict(
      `the tenant was changed by somebody else: it is of version ${tenant.version}, and not ${version}; read it again`
    )
  assertStatus(tenant.status, 'provisioning', 'active', 'suspended')
  const changes: Omit<UpdateInput, 'version'> = Object.fromEntries(
    (['name', 'plan', 'settings'] as const)
      .filter(key => given[key] !== undefined && !isDeepStrictEqual(given[key], tenant[key])).map(
        key => [key, given[key]]
      )
  )
  if (Object.keys(changes).length === 0) return tenant
  // Settings may hold what is nobody's to write down for ever: their names alone.
  const { settings, ...plain } = changes
  return changeTenant(context, tenant, changes, 'update', {
    ...plain,
    ...(settings !== undefined && { settings: changedNames(tenant.settings, settings) })
  })
}

function changedNames (
  before: Readonly<Record<string, unknown>>,
  after: Readonly<Record<string, unknown>>
): string[] {
  return [...new Set([...Object.keys(before), ...Object.keys(after)])].filter(name =>
    !isDeepStrictEqual(before[name], after[name])
  ).toSorted()
}
