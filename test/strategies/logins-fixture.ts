// One database with a tenant of signed rls and a tenant with a schema, for any choice of logins.
import type { TenantRecord } from '@fastify-tenancy/core'
import { TenantScope } from '@fastify-tenancy/core/scope'
import { openDatabase, type DatabaseRuntime } from '@fastify-tenancy/database'
import { resolveDatabaseOptions } from '@fastify-tenancy/database/options'
import { createManager, type Manager, type ManagerOptions } from '@fastify-tenancy/manager'
import type { Kysely } from 'kysely'
import type pg from 'pg'
import type { Test } from 'tap'

import { freshDatabase } from '../support/fresh.ts'
import { connect, loginUrl } from '../support/sql.ts'

export const secret = 'a secret of the tests, 32 characters and more'
export const tables = { tenant: ['notes'], global: ['people'] }

export type Login = 'tenantRolesUrl' | 'globalUrl' | 'registryUrl'

export interface Built {
  readonly superUrl: string
  readonly manager: Manager
  admin(text: string, values?: unknown[]): Promise<pg.QueryResult>
  login(name: Login | 'url' | 'systemUrl' | 'ownerUrl'): string
  /** Opens the same database with other logins. */
  managerOf(without: readonly Login[]): Manager
  open(without?: readonly Login[], more?: object): DatabaseRuntime
}

/**
 * A database with acme (signed rls) and globex (a schema), set up for all logins except those in
 * `without`.
 */
export async function build (t: Test, without: readonly Login[] = [], rls: object = {}): Promise<Built> {
  const superUrl = await freshDatabase(t)
  const admin = await connect(t, superUrl)
  await admin.query(
    'create table notes (tenant_id text not null, body text); ' +
      'create table people (id int primary key, name text)'
  )
  // A password that needs no quoting in PgBouncer's user list.
  const login: Built['login'] = name =>
    Object.assign(new URL(loginUrl(superUrl, name.replace('Url', '').toLowerCase())), { password: 'secret' })
      .href
  const optionsOf = (without: readonly Login[]): ManagerOptions => {
    const optional = (['tenantRolesUrl', 'globalUrl', 'registryUrl'] as const).filter(name =>
      !without.includes(name)
    )
    const urls = Object.fromEntries(optional.map(name => [name, login(name)]))
    return {
      rls: { secret, ...rls },
      tables,
      database: { url: login('url'), systemUrl: login('systemUrl'), ownerUrl: login('ownerUrl'), ...urls }
    }
  }
  const managerOf = (without: readonly Login[]): Manager => {
    const manager = createManager({
      ...optionsOf(without),
      provision: async ({ client }) => {
        await client.query('create table notes (body text)')
      }
    })
    t.teardown(() => manager.close())
    return manager
  }
  const manager = managerOf(without)
  await manager.init({ url: superUrl, tenantRoles: true })
  await manager.protect({ url: superUrl })
  await manager.create({ id: 'acme', slug: 'the-acme', isolation: 'rls' })
  await manager.create({ id: 'globex', slug: 'the-globex', isolation: 'schema' })
  await admin.query(
    "insert into tenant_globex.notes values ('globex:1'); insert into people values (1, 'person:1'); " +
      "insert into notes values ('acme', 'acme:1'), ('hooli', 'hooli:1')"
  )
  return {
    superUrl,
    manager,
    admin: (text, values) => admin.query(text, values),
    login,
    managerOf,
    open: (opened = without, more = {}) => {
      const options = optionsOf(opened)
      const database = openDatabase(
        resolveDatabaseOptions({ ...options, database: { ...options.database as object, ...more } })
      )
      t.teardown(() => database.close())
      return database
    }
  }
}

export function dbOf (
  t: Test,
  database: DatabaseRuntime,
  tenant: TenantRecord
): Kysely<{ notes: { body: string } }> {
  const scope = new TenantScope(tenant, { info () {}, warn () {}, error () {} })
  t.teardown(() => scope.abort())
  return database.forScope(scope) as unknown as Kysely<{ notes: { body: string } }>
}

export async function tenantOf (manager: Manager, id: string): Promise<TenantRecord> {
  const tenant = await manager.get({ id })
  if (tenant === undefined) throw new Error(`there is no tenant ${id}`)
  return tenant
}
