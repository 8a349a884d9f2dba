// A database as the manager leaves it, with least-privilege logins and tables that refer to each
// other, for any strategy.
import type { TenantRecord } from '@fastify-tenancy/core'
import { TenantScope } from '@fastify-tenancy/core/scope'
import { openDatabase, type DatabaseConnectionOptions, type DatabaseRuntime } from '@fastify-tenancy/database'
import { resolveDatabaseOptions } from '@fastify-tenancy/database/options'
import { createManager, type Manager, type ManagerOptions } from '@fastify-tenancy/manager'
import type { Kysely } from 'kysely'
import pg from 'pg'
import type { Test } from 'tap'

import { freshDatabase } from '../support/fresh.ts'
import { connect, databaseOf } from '../support/sql.ts'
import { lifecycleOptions, ownerUrl, tables, tenantUrl, type LifecycleStrategy,
  type Rows } from './lifecycle-options.ts'

export { lifecycleSteps, tables, type LifecycleStrategy, type Rows } from './lifecycle-options.ts'

const sharedTables = `
  create table projects (tenant_id text not null, id int not null, parent int, primary key (tenant_id, id),
    foreign key (tenant_id, parent) references projects);
  create table tasks (tenant_id text not null, id int not null, project_id int not null,
    primary key (tenant_id, id), foreign key (tenant_id, project_id) references projects);
  create table comments (id int not null, project_tenant text not null, project_id int not null,
    primary key (project_tenant, id), foreign key (project_tenant, project_id) references projects);
  create table members (user_id int not null, tenant_id text not null, primary key (user_id, tenant_id));
  create table countries (code text primary key)`

export interface LifecycleFixture {
  readonly superUrl: string
  readonly manager: Manager
  readonly options: ManagerOptions
  /** Runs SQL as the superuser. */
  admin<R extends pg.QueryResultRow>(text: string, values?: unknown[]): Promise<R[]>
  /** Another manager with the same options. */
  another(more?: Partial<ManagerOptions>): Manager
  asSuperuser(more?: Partial<ManagerOptions>): Manager
  readonly ownerUrl: string
  /** The application's database, booted. */
  open(): Promise<DatabaseRuntime>
  /** A handle for a tenant as this process has it in memory. */
  handle(database: DatabaseRuntime, tenant: TenantRecord): Kysely<Rows>
  /**
   * Inserts two projects and two tasks for a tenant, and in the shared schema also two comments and
   * two members.
   */
  fill(tenant: TenantRecord): Promise<void>
}

export async function lifecycleFixture (
  t: Test,
  strategy: LifecycleStrategy = 'rls',
  more: Partial<ManagerOptions> = {}
): Promise<LifecycleFixture> {
  const superUrl = await freshDatabase(t)
  const admin = await connect(t, superUrl)
  await admin.query(sharedTables)
  const options = lifecycleOptions(superUrl, strategy, more)
  const another = (more: Partial<ManagerOptions> = {}): Manager => {
    const manager = createManager({ ...options, ...more })
    t.teardown(() => manager.close())
    return manager
  }
  const manager = another()
  await manager.init({ url: superUrl, tenantRoles: true })
  await admin.query(`alter role "${new URL(ownerUrl(superUrl)).username}" createdb createrole`)
  // Run as the administrator, who owns these tables so far.
  const asSuperuser = (more: Partial<ManagerOptions> = {}): Manager =>
    another({ database: { ...options.database as DatabaseConnectionOptions, ownerUrl: superUrl }, ...more })
  await asSuperuser().protect()
  if (strategy === 'database') dropDatabases(t, superUrl)
  return {
    superUrl,
    manager,
    options,
    admin: async (text, values) => (await admin.query(text, values)).rows as never,
    another,
    asSuperuser,
    ownerUrl: ownerUrl(superUrl),
    async open () {
      const { database, isolation = 'rls', rls = {} } = options
      const opened = openDatabase(resolveDatabaseOptions({ database, isolation, rls, tables }))
      t.teardown(() => opened.close())
      await opened.boot()
      return opened
    },
    handle (database, tenant) {
      const scope = new TenantScope(tenant, { info () {}, warn () {}, error () {} })
      t.teardown(() => scope.abort())
      return database.forScope(scope) as unknown as Kysely<Rows>
    },
    async fill (tenant) {
      if (tenant.isolation === 'database')
        return onUrl(tenantUrl(superUrl, tenant.id), client => client.query(ownRows('public')))
      if (tenant.isolation === 'schema') {
        await admin.query(ownRows(tenant.placement.schema ?? ''))
        return
      }
      await admin.query(`
        insert into projects values ('${tenant.id}', 1, null), ('${tenant.id}', 2, 1);
        insert into tasks values ('${tenant.id}', 1, 1), ('${tenant.id}', 2, 2);
        insert into comments values (1, '${tenant.id}', 1), (2, '${tenant.id}', 2);
        insert into members values (1, '${tenant.id}'), (2, '${tenant.id}')`)
    }
  }
}

/** Returns a tenant id whose database the teardown of the test finds. */
export function idFor (world: Pick<LifecycleFixture, 'superUrl'>, name: string): string {
  return `${databaseOf(world.superUrl)}_${name}`
}

function ownRows (schema: string): string {
  return `insert into "${schema}".projects values (1, null), (2, 1); insert into "${schema}".tasks ` +
    'values (1, 1), (2, 2)'
}

async function onUrl (url: string, work: (client: pg.Client) => Promise<unknown>): Promise<void> {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  await work(client).finally(() => client.end())
}

function dropDatabases (t: Test, superUrl: string): void {
  const like = `tenant_${databaseOf(superUrl)}_%`
  t.teardown(() =>
    onUrl(superUrl.replace(/\/[^/]*$/, '/postgres'), async client => {
      const { rows } = await client.query<{ datname: string }>(
        'select datname from pg_database where datname like $1',
        [like]
      )
      for (const { datname } of rows) await client.query(`drop database if exists "${datname}" with (force)`)
      const roles = await client.query<{ rolname: string }>(
        'select rolname from pg_roles where rolname like $1',
        [like]
      )
      for (const { rolname } of roles.rows)
        await client.query(`drop role if exists "${rolname}"`).catch(() => {})
    })
  )
}
