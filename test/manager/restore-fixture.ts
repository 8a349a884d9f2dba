// Two tenants, an export of the first, and a day of changes to its rows.
import type { TenantRecord } from '@fastify-tenancy/core'
import type { Manager } from '@fastify-tenancy/manager'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'

import { connect } from '../support/sql.ts'
import { until } from '../support/until.ts'
import { idFor, lifecycleFixture, type LifecycleStrategy,
  type LifecycleFixture } from './lifecycle-fixture.ts'

export function exportFolder (t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'tenancy-restore-test-'))
  t.teardown(() => {
    rmSync(folder, { recursive: true, force: true })
  })
  return join(folder, 'yesterday')
}

/** Runs SQL on the tables of a tenant. The SQL names them without a schema. */
export async function onTenant (
  t: Test,
  world: LifecycleFixture,
  tenant: TenantRecord,
  text: string
): Promise<Record<string, unknown>[]> {
  const url = new URL(world.superUrl)
  if (tenant.isolation === 'database') url.pathname = `/tenant_${tenant.id}`
  const client = await connect(t, url.href)
  await client.query(
    `set search_path = "${tenant.isolation === 'schema' ? tenant.placement.schema : 'public'}"`
  )
  const result = await client.query(text)
  await client.end()
  return (Array.isArray(result) ? result.at(-1) : result).rows
}

export const isOwn = ({ isolation }: TenantRecord): boolean =>
  isolation === 'schema' || isolation === 'database'

/**
 * Returns the rows of a tenant with the transaction that wrote each. Rewriting an equal row changes
 * its transaction.
 */
export async function rowsOf (
  t: Test,
  world: LifecycleFixture,
  tenant: TenantRecord
): Promise<{ rows: unknown; written: unknown }> {
  const where = isOwn(tenant) ? '' : `where tenant_id = '${tenant.id}'`
  const projects = await onTenant(
    t,
    world,
    tenant,
    `select id, parent, xmin::text from projects ${where} order by id`
  )
  const tasks = await onTenant(t, world, tenant, `select id, project_id from tasks ${where} order by id`)
  return {
    rows: { projects: projects.map(({ id, parent }) => ({ id, parent })), tasks },
    written: Object.fromEntries(projects.map(({ id, xmin }) => [id, xmin]))
  }
}

/** Changes a row, deletes one with its children and inserts one. */
export async function change (t: Test, world: LifecycleFixture, tenant: TenantRecord): Promise<void> {
  const [where, column, value] = isOwn(tenant)
    ? ['', '', '']
    : [`and tenant_id = '${tenant.id}'`, 'tenant_id, ', `'${tenant.id}', `]
  await onTenant(
    t,
    world,
    tenant,
    `
    delete from tasks where id = 2 ${where};
    ${isOwn(tenant) ? '' : `delete from comments where project_tenant = '${tenant.id}' and project_id = 2;`}
    delete from projects where id = 2 ${where};
    update tasks set project_id = 1 where id = 1 ${where};
    insert into projects (${column}id, parent) values (${value}9, 1);
    insert into tasks (${column}id, project_id) values (${value}9, 9)`
  )
}

/** Returns two tenants and an export of the first. */
export async function twoTenants (t: Test, strategy: LifecycleStrategy): Promise<{
  world: LifecycleFixture
  acme: TenantRecord
  globex: TenantRecord
  folder: string
  manager: Manager
}> {
  const world = await lifecycleFixture(t, strategy)
  const { manager } = world
  const make = async (slug: string): Promise<TenantRecord> => {
    const tenant = await manager.create({ slug, id: idFor(world, slug) })
    await world.fill(tenant)
    return tenant
  }
  const [acme, globex] = [await make('acme'), await make('globex')]
  const folder = exportFolder(t)
  await manager.export(acme, { to: folder })
  return { world, acme, globex, folder, manager }
}

/** Whether the rows are either those before a restore or those after it. */
export function isAllOrNothing (now: unknown, ...wholes: readonly unknown[]): boolean {
  return wholes.some(whole => JSON.stringify(whole) === JSON.stringify(now))
}

/** Calls an interrupted restore again and checks that it left nothing undone. */
export async function resume (
  t: Test,
  world: LifecycleFixture,
  tenant: TenantRecord,
  folder: string,
  expected: unknown
): Promise<void> {
  const next = world.another()
  // PostgreSQL may not have noticed yet that the process that held the lock is dead.
  await until(() =>
    next.restore(tenant, { from: folder }).then(() => true, (error: Error) => {
      if (error.message.includes('at this moment')) return undefined
      throw error
    })
  )
  t.same((await rowsOf(t, world, tenant)).rows, expected)
  t.match(await next.get(tenant), { status: 'active' })
  t.same(await world.admin('select reason from tenancy.lockouts'), [], 'the lock is gone')
  await next.close()
}
