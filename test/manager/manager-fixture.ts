// A fresh database and its manager, the same for every strategy. Its tables refer to each other, to
// themselves and to reference tables.
import type { DatabaseConnectionOptions } from '@fastify-tenancy/database'
import { createManager, type Manager, type ManagerOptions } from '@fastify-tenancy/manager'
import { readdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import pg from 'pg'
import type { Test } from 'tap'

import { freshDatabase } from '../support/fresh.ts'
import { temporaryFolder } from '../support/services.ts'
import { connect, databaseOf, loginUrl } from '../support/sql.ts'

export const secret = 'a secret of the tests, 32 characters and more'
export const tables = { tenant: ['projects', 'tasks', 'labels'], shared: ['countries'] }

/**
 * Returns the DDL. Tenant tables in the shared schema also have a tenant column; a tenant's own
 * tables have none.
 */
export function ddl (isShared: boolean): string {
  const [column, key] = isShared ? ['tenant_id text not null, ', 'tenant_id, '] : ['', '']
  return `
    create table projects (${column}id serial, name text not null, budget numeric, lead_task int,
      primary key (${key}id));
    create table tasks (${column}id bigint generated always as identity, project_id int not null,
      parent_id bigint, title text not null, done boolean not null default false, primary key (${key}id),
      foreign key (${key}project_id) references projects (${key}id), foreign key (${key}parent_id)
        references tasks (${key}id));
    alter table projects add foreign key (${key}lead_task) references tasks (${key}id);
    create table labels (${column}word text not null, country text references public.countries)`
}

export const countries =
  "create table countries (code text primary key); insert into countries values ('NL'), ('DE')"

export interface ManagerFixture {
  readonly superUrl: string
  readonly shardUrls: Readonly<Record<string, string>>
  readonly manager: Manager
  /** Another manager with the same options. */
  another(more?: Partial<ManagerOptions>): Manager
  /** Runs SQL as the superuser. */
  admin<R extends pg.QueryResultRow>(text: string, values?: unknown[]): Promise<R[]>
}

export interface FixtureOptions {
  readonly rls?: ManagerOptions['rls']
  readonly more?: Partial<ManagerOptions>
  /** DDL of the tables of tenants, with the tenant column or without it. */
  readonly build?: (isShared: boolean) => string
  readonly tables?: ManagerOptions['tables']
  /** Names of shards besides the default one. Each is a database with the same tables. */
  readonly shards?: readonly string[]
}

/** Options of a manager of a fixture. Processes that a test starts use them too. */
export function fixtureOptions (
  superUrl: string,
  { rls = { secret }, more = {}, build = ddl, tables: listed = tables }: FixtureOptions = {},
  shardUrls: Readonly<Record<string, string>> = {}
): ManagerOptions {
  const own = new URL(superUrl)
  own.username = own.password = 'TENANT'
  return {
    rls,
    tables: listed,
    database: {
      url: loginUrl(superUrl, 'app'),
      ownerUrl: loginUrl(superUrl, 'owner'),
      tenants: {
        url: own.href.replaceAll('TENANT', '{database}').replace(`/${databaseOf(superUrl)}`, '/{database}')
      },
      shards: Object.fromEntries(
        Object.entries(shardUrls).map((
          [name, url]
        ) => [name, { url: loginUrl(url, 'app'), ownerUrl: loginUrl(url, 'owner') }])
      )
    },
    provision: async ({ tenant, client }) => {
      await client.query(`${tenant.isolation === 'database' ? `${countries};` : ''}${build(false)}`)
    },
    ...more
  }
}

export async function managerFixture (t: Test, given: FixtureOptions = {}): Promise<ManagerFixture> {
  const superUrl = await freshDatabase(t)
  const admin = await connect(t, superUrl)
  const shardUrls: Record<string, string> = {}
  for (const name of given.shards ?? []) shardUrls[name] = await freshDatabase(t)
  const clients = [admin, ...await Promise.all(Object.values(shardUrls).map(url => connect(t, url)))]
  for (const client of clients) await client.query(`${countries}; ${(given.build ?? ddl)(true)}`)
  dropDatabases(t, superUrl)
  const options = fixtureOptions(superUrl, given, shardUrls)
  const another = (more: Partial<ManagerOptions> = {}): Manager => {
    const manager = createManager({ ...options, ...more })
    t.teardown(() => manager.close())
    return manager
  }
  const manager = another()
  await manager.init({ url: superUrl, shards: shardUrls, tenantRoles: true })
  for (const [index, client] of clients.entries()) {
    const url = [superUrl, ...Object.values(shardUrls)][index] ?? ''
    await client.query(`alter role "${new URL(loginUrl(url, 'owner')).username}" createdb createrole`)
  }
  // Run as the administrator, who owns these tables so far.
  const { database } = options as { database: DatabaseConnectionOptions }
  await another({
    database: {
      ...database,
      ownerUrl: superUrl,
      shards: Object.fromEntries(
        Object.entries(shardUrls).map(([name, url]) => [name, { url: loginUrl(url, 'app'), ownerUrl: url }])
      )
    }
  }).protect()
  return {
    superUrl,
    shardUrls,
    manager,
    another,
    admin: async (text, values) => (await admin.query(text, values)).rows as never
  }
}

/** Returns a tenant id whose database the teardown of the test finds. */
export function unique ({ superUrl }: Pick<ManagerFixture, 'superUrl'>, name: string): string {
  return `${databaseOf(superUrl)}_${name}`
}

function dropDatabases (t: Test, superUrl: string): void {
  const like = `tenant_${databaseOf(superUrl)}_%`
  t.teardown(async () => {
    const client = new pg.Client(superUrl.replace(/\/[^/]*$/, '/postgres'))
    await client.connect()
    for (
      const { datname }
        of (await client.query<{ datname: string }>('select datname from pg_database where datname like $1', [
          like
        ])).rows
    ) await client.query(`drop database if exists "${datname}" with (force)`)
    for (
      const { rolname }
        of (await client.query<{ rolname: string }>('select rolname from pg_roles where rolname like $1', [
          like
        ])).rows
    ) await client.query(`drop role if exists "${rolname}"`).catch(() => {})
    await client.end()
  })
}

/**
 * Inserts a tenant's rows into the tenant tables: `count` projects with two tasks each. The second
 * task is the first one's child, and the projects form a circle.
 */
export async function fill (on: ManagerFixture, id: string, count = 3): Promise<void> {
  await on.admin(
    `
    with p as (insert into projects (tenant_id, name, budget) select $1, $1 || ' project ' || g, g + 0.10
      from generate_series(1, $2) g returning id),
    a as (insert into tasks (tenant_id, project_id, title) select $1, id, $1 || ' first of ' || id from p
      returning id, project_id)
    insert into labels (tenant_id, word, country) select $1, $1 || ' label ' || id, 'NL' from p`,
    [id, count]
  )
  await on.admin(
    'insert into tasks (tenant_id, project_id, parent_id, title) select tenant_id, project_id, id, ' +
      "$1 || ' below ' || id from tasks where tenant_id = $1",
    [id]
  )
  await on.admin(
    'update projects set lead_task = task from (select project_id, max(id) as task from tasks ' +
      'where tenant_id = $1 group by 1) last where tenant_id = $1 and id = project_id',
    [id]
  )
}

export function folder (t: Test): string {
  const path = temporaryFolder()
  t.teardown(() => {
    rmSync(path, { recursive: true, force: true })
  })
  return path
}

/** Returns the files of an export by name. The manifest comes without its dates and its tenant. */
export function contents (path: string): Record<string, unknown> {
  const { exportedAt: _, tenant: __, ...manifest } = JSON.parse(
    readFileSync(join(path, 'manifest.json'), 'utf8')
  ) as Record<string, unknown>
  const files = readdirSync(join(path, 'tables')).toSorted().map(
    name => [name, readFileSync(join(path, 'tables', name), 'utf8')]
  )
  return { manifest, ...Object.fromEntries(files) }
}
