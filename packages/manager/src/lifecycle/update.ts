import type { TenantRecord, TenantRef } from '@fastify-tenancy/core'
import { tenantConflict } from '@fastify-tenancy/core/errors'
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
      `the tenant was changed meanwhile: its version is ${tenant.version}, not ${version}. ` +
        'Read the tenant, then update it again'
    )
  assertStatus(tenant.status, 'provisioning', 'active', 'suspended')
  const changes: Omit<UpdateInput, 'version'> = Object.fromEntries(
    (['name', 'plan', 'settings'] as const)
      .filter(key => given[key] !== undefined && !isDeepStrictEqual(given[key], tenant[key])).map(
        key => [key, given[key]]
      )
  )
  if (Object.keys(changes).length === 0) return tenant
  // Settings may contain secrets, so the audit entry has only the names of the changed ones.
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
