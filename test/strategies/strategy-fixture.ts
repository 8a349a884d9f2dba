// A fresh database as the manager leaves it, tenants in it and their handles, the same for every
// strategy.
import type { Isolation, TenantRecord } from '@fastify-tenancy/core'
import { TenantScope } from '@fastify-tenancy/core/scope'
import { openDatabase, type DatabaseConnectionOptions, type DatabaseRuntime } from '@fastify-tenancy/database'
import { resolveDatabaseOptions } from '@fastify-tenancy/database/options'
import { createManager, type CreateInput, type Manager, type ManagerOptions } from '@fastify-tenancy/manager'
import type { Generated, Kysely } from 'kysely'
import pg from 'pg'
import type { Test } from 'tap'

import { freshDatabase } from '../support/fresh.ts'
import { connect, databaseOf, loginUrl } from '../support/sql.ts'

export interface Rows {
  notes: { id: Generated<number>; body: string; n: Generated<number> }
  projects: { name: string }
  countries: { code: string }
}

export interface Handle {
  readonly scope: TenantScope
  readonly db: Kysely<Rows>
}

export interface World {
  readonly superUrl: string
  /** The application's login. */
  readonly url: string
  readonly manager: Manager
  /** Runs SQL as the superuser. */
  admin<R extends pg.QueryResultRow>(text: string, values?: unknown[]): Promise<R[]>
  create(id: string, input?: Partial<CreateInput>): Promise<TenantRecord>
  /** The application's database, booted. Closed when the test ends. */
  open(options?: Partial<DatabaseConnectionOptions>): Promise<DatabaseRuntime>
  handle(database: DatabaseRuntime, tenant: TenantRecord): Handle
}

export const secret = 'a secret of the tests, 32 characters and more'
export const tables = { tenant: ['notes', 'projects'], shared: ['countries'] }
export const silent = { info () {}, warn () {}, error () {} }

/** Tables of a tenant with a placement of its own. They have no tenant column. */
export const ownTables =
  'create table notes (id serial primary key, body text not null, n int not null default 0); ' +
  'create table projects (name text not null)'
export const sharedTables = `
  create table notes (tenant_id text not null, id serial, body text not null, n int not null default 0,
    primary key (tenant_id, id));
  create table projects (tenant_id text not null, name text not null);
  create table countries (code text primary key);
  insert into countries values ('NL'), ('DE')`

export interface WorldOptions {
  readonly isolation?: Isolation
  readonly rls?: ManagerOptions['rls']
  /** Further options, which may depend on the superuser's URL. */
  readonly database?:
    | Partial<DatabaseConnectionOptions>
    | ((superUrl: string) => Partial<DatabaseConnectionOptions>)
  readonly provision?: ManagerOptions['provision']
}

export async function world (
  t: Test,
  { isolation = 'rls', rls = {}, database = {}, provision }: WorldOptions = {}
): Promise<World> {
  const superUrl = await freshDatabase(t)
  const url = loginUrl(superUrl, 'app')
  const admin = await connect(t, superUrl)
  await admin.query(sharedTables)
  const options = (
    more: Partial<DatabaseConnectionOptions>
  ): Pick<ManagerOptions, 'isolation' | 'rls' | 'tables' | 'database'> => ({
    isolation,
    rls,
    tables,
    database: {
      url,
      ownerUrl: superUrl,
      ...(typeof database === 'function' ? database(superUrl) : database),
      ...more
    }
  })
  const manager = createManager({
    ...options({}),
    provision: provision ?? (async ({ client }) => {
      await client.query(ownTables)
    })
  })
  t.teardown(() => manager.close())
  await manager.init()
  await manager.protect()
  return {
    superUrl,
    url,
    manager,
    admin: async (text, values) => (await admin.query(text, values)).rows as never,
    create: (id, input = {}) =>
      manager.create({ id, slug: `slug-of-${id.toLowerCase().replaceAll('_', '-')}`.slice(0, 60), ...input }),
    async open (more = {}) {
      const opened = openDatabase(resolveDatabaseOptions(options(more)))
      t.teardown(() => opened.close())
      await opened.boot()
      return opened
    },
    handle (opened, tenant) {
      const scope = new TenantScope(tenant, silent)
      t.teardown(() => scope.abort())
      return { scope, db: opened.forScope(scope) as unknown as Kysely<Rows> }
    }
  }
}

/**
 * Returns a URL template for tenants' databases on the test's server. The teardown finds their
 * names by the test's own.
 */
export function databaseTemplate (superUrl: string): string {
  const template = new URL(superUrl)
  template.username = 'TENANT'
  template.password = 'secret'
  return template.href.replace('TENANT', `{database}`).replace(`/${databaseOf(superUrl)}`, '/{database}')
}

/** Drops tenants' databases and their logins when the test ends. */
export function dropDatabases (t: Test, superUrl: string, names: readonly string[]): void {
  t.teardown(async () => {
    const client = new pg.Client({ connectionString: superUrl.replace(/\/[^/]*$/, '/postgres') })
    await client.connect()
    for (const name of names) {
      await client.query(`drop database if exists "${name}" with (force)`)
      await client.query(`drop role if exists "${name}"`)
    }
    await client.end()
  })
}
