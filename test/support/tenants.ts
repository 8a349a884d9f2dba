// A fresh database after `tenancy init` and `tenancy protect`, with four logins, two tables and
// handles.
import { toTenant } from '@fastify-tenancy/core'
import { TenantScope } from '@fastify-tenancy/core/scope'
import { openDatabase, type DatabaseConnectionOptions, type DatabaseRuntime } from '@fastify-tenancy/database'
import { resolveDatabaseOptions } from '@fastify-tenancy/database/options'
import type { Kysely, Generated } from 'kysely'
import pg from 'pg'
import type { Test } from 'tap'

import { init } from '../../packages/postgres/src/install/init.ts'
import { protect } from '../../packages/postgres/src/policies/protect.ts'
import { freshDatabase } from './fresh.ts'

export interface Rows {
  notes: { tenant_id: Generated<string>; id: Generated<number>; body: string; n: Generated<number> }
  countries: { code: string }
}

export interface Provisioned {
  readonly superUrl: string
  readonly url: string
  readonly registryUrl: string
  readonly systemUrl: string
  readonly ownerUrl: string
  readonly secret: string | undefined
  readonly tables: { tenant: string[]; shared: string[] }
  /** Runs SQL as the superuser. */
  admin<R extends pg.QueryResultRow>(text: string, values?: unknown[]): Promise<R[]>
}

export const testSecret = 'a secret of the tests, 32 characters and more'

/** Creates the database. `secret: undefined` for unsigned contexts. */
export async function provision (
  t: Test,
  { secret = testSecret }: { secret?: string | undefined | false } = {}
): Promise<Provisioned> {
  const superUrl = await freshDatabase(t)
  const name = new URL(superUrl).pathname.slice(1)
  const client = new pg.Client({ connectionString: superUrl })
  // A test may stop the server.
  client.on('error', () => {})
  await client.connect()
  t.teardown(() => client.end())
  const login = (use: string): { user: string; password: string } => ({
    user: `${name}_${use}`,
    password: 'secret'
  })
  const logins = {
    app: login('app'),
    registry: login('registry'),
    system: login('system'),
    owner: login('owner')
  }
  const tables = { tenant: ['notes'], shared: ['countries'] }
  await init(client, { logins, signingSecrets: secret ? [secret] : [] })
  await client.query(`
    create table notes (tenant_id text not null, id serial, body text not null,
      n int not null default 0, primary key (tenant_id, id));
    create table countries (code text primary key);
    create table unlisted (secret text);
    insert into countries values ('NL'), ('DE');
    insert into unlisted values ('unlisted')`)
  await protect(client, {
    tables: { tenant: { notes: 'tenant_id' }, shared: ['countries'], global: [], schema: 'public' },
    signed: Boolean(secret)
  })
  const urlOf = ({ user, password }: { user: string; password: string }): string =>
    Object.assign(new URL(superUrl), { username: user, password }).href
  t.teardown(async () => {
    // Dropped after the database (see freshDatabase). A login that still owns an object is left
    // behind.
    for (const { user } of Object.values(logins))
      await client.query(`drop owned by "${user}"; drop role if exists "${user}"`).catch(() => {})
  })
  return {
    superUrl,
    url: urlOf(logins.app),
    registryUrl: urlOf(logins.registry),
    systemUrl: urlOf(logins.system),
    ownerUrl: urlOf(logins.owner),
    secret: secret || undefined,
    tables,
    admin: async (text, values) => (await client.query(text, values)).rows as never
  }
}

/** Returns the suite's database on it, booted, closed when the test ends. */
export async function open (
  t: Test,
  on: Provisioned,
  options: Partial<DatabaseConnectionOptions> = {}
): Promise<DatabaseRuntime> {
  const database = openDatabase(resolveDatabaseOptions({
    database: { url: on.url, ...options },
    tables: on.tables,
    ...(on.secret !== undefined && { rls: { secret: on.secret } })
  }))
  t.teardown(() => database.close())
  await database.boot()
  return database
}

export interface Handle {
  readonly scope: TenantScope
  readonly db: Kysely<Rows>
}

const silent = { info () {}, warn () {}, error () {} }

/** Returns a tenant's scope and handle, which end when the test ends. */
export function handle (t: Test, database: DatabaseRuntime, id: string): Handle {
  const scope = new TenantScope(toTenant({ id, slug: `slug-of-${id.toLowerCase()}` }), silent)
  t.teardown(() => scope.abort())
  return { scope, db: database.forScope(scope) as unknown as Kysely<Rows> }
}
