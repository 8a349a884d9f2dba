// A database with the four logins and a manager on it, two folders of migrations, and tenants with
// schemas.
import type { TenantRecord } from '@fastify-tenancy/core'
import { TenantScope } from '@fastify-tenancy/core/scope'
import { openDatabase, type DatabaseConnectionOptions } from '@fastify-tenancy/database'
import { resolveDatabaseOptions } from '@fastify-tenancy/database/options'
import { createManager, type Manager, type ManagerOptions } from '@fastify-tenancy/manager'
import { rolesOf } from '@fastify-tenancy/postgres/roles'
import type { Kysely } from 'kysely'
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type pg from 'pg'
import type { Test } from 'tap'

import { freshDatabase } from './fresh.ts'
import { temporaryFolder } from './services.ts'
import { connect, databaseOf, loginUrl } from './sql.ts'

export interface Migrations {
  readonly superUrl: string
  readonly url: string
  readonly ownerUrl: string
  readonly manager: Manager
  readonly options: ManagerOptions
  /** The role that owns the tables. */
  readonly owner: string
  /** Runs SQL as the superuser. */
  admin<R extends pg.QueryResultRow>(text: string, values?: unknown[]): Promise<R[]>
  /** Another manager, closed when the test ends. */
  another(more?: Partial<ManagerOptions>): Manager
  /** Writes a migration file: the bodies of `up` and `down`, and further exports. */
  write(set: 'shared' | 'tenant', name: string, up: string, down?: string, more?: string): string
  /** Creates tenants `t0001` … with empty schemas by SQL, a thousand in a second. */
  schemas(count: number): Promise<string[]>
}

export async function migrations (t: Test, more: Partial<ManagerOptions> = {}): Promise<Migrations> {
  const superUrl = await freshDatabase(t)
  const [url, ownerUrl] = [loginUrl(superUrl, 'app'), loginUrl(superUrl, 'owner')]
  const folder = temporaryFolder()
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  for (const set of ['shared', 'tenant']) mkdirSync(join(folder, set))
  const client = await connect(t, superUrl)
  const admin: Migrations['admin'] = async (text, values) => (await client.query(text, values)).rows as never
  t.teardown(async () => {
    // Dropped after the database (see freshDatabase): privileges on the server's own database, too.
    for (const user of [url, ownerUrl].map(login => decodeURIComponent(new URL(login).username)))
      await client.query(`drop owned by "${user}"; drop role if exists "${user}"`).catch(() => {})
  })
  const options: ManagerOptions = {
    database: { url, ownerUrl },
    isolation: 'schema',
    migrations: { shared: join(folder, 'shared'), tenant: join(folder, 'tenant') },
    ...more
  }
  const another = (given: Partial<ManagerOptions> = {}): Manager => {
    const manager = createManager({ ...options, ...given })
    t.teardown(() => manager.close())
    return manager
  }
  const manager = another()
  await manager.init({ url: superUrl })
  const { owner } = rolesOf(databaseOf(superUrl))
  return {
    superUrl,
    url,
    ownerUrl,
    manager,
    options,
    owner,
    admin,
    another,
    write (set, name, up, down, more = '') {
      const file = join(folder, set, `${name}.ts`)
      writeFileSync(file, `${migrationText(up, down)}${more}\n`)
      return file
    },
    async schemas (count) {
      await makeSchemas(admin, owner, count)
      return Array.from({ length: count }, (_, index) => tenantName(index))
    }
  }
}

export function migrationText (up: string, down?: string): string {
  return `import { sql, type Kysely } from '${import.meta.resolve('kysely')}'
export async function up (db: Kysely<any>): Promise<void> {
  ${up}
}
${down === undefined ? '' : `export async function down (db: Kysely<any>): Promise<void> {\n  ${down}\n}\n`}`
}

function tenantName (index: number): string {
  return `t${String(index + 1).padStart(4, '0')}`
}

async function makeSchemas (admin: Migrations['admin'], owner: string, count: number): Promise<void> {
  await admin(`
    insert into tenancy.tenants (id, slug, name, status, plan, isolation, shard, schema_name)
    select id, 's' || id, id, 'active', 'free', 'schema', 'default', 'tenant_' || id
    from (select 't' || lpad(n::text, 4, '0') as id from generate_series(1, ${count}) n) ids`)
  // In chunks, because the number of locks in one transaction is limited.
  for (let from = 1; from <= count; from += 200) {
    await admin(`
      do $$ declare id text; begin
        for id in select 't' || lpad(n::text, 4, '0') from generate_series(${from}, ${
      Math.min(from + 199, count)
    }) n loop
          execute format('create schema %I authorization "${owner}"; comment on schema %I is %L',
            'tenant_' || id, 'tenant_' || id, 'fastify-tenancy: tenant ' || id);
        end loop;
      end $$`)
  }
}

/** Returns the error that a promise rejects with. */
export function failure (work: Promise<unknown>): Promise<unknown> {
  return work.then(() => {
    throw new Error('it did not fail')
  }, (error: unknown) => error)
}

/** Returns a tenant's handle in an application with these options. */
export async function handle (
  t: Test,
  tenant: TenantRecord,
  database: DatabaseConnectionOptions
): Promise<Kysely<{ notes: { body: string } }>> {
  const opened = openDatabase(resolveDatabaseOptions({ database, isolation: tenant.isolation }))
  t.teardown(() => opened.close())
  await opened.boot()
  const scope = new TenantScope(tenant, { info () {}, warn () {}, error () {} })
  t.teardown(() => scope.abort())
  return opened.forScope(scope) as never
}
