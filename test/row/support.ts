// Two tables of tenants without any policy or role of ours, a shared one and an unlisted one; and
// rewritten handles on them.
import { toTenant, memoryRegistry } from '@fastify-tenancy/core'
import { TenantScope } from '@fastify-tenancy/core/scope'
import { openDatabase, type DatabaseConnectionOptions, type DatabaseRuntime,
  type TenantDatabaseOptions } from '@fastify-tenancy/database'
import { resolveDatabaseOptions } from '@fastify-tenancy/database/options'
import type { Generated, Kysely } from 'kysely'
import type pg from 'pg'
import type { Test } from 'tap'

import { freshDatabase } from '../support/fresh.ts'
import { connect } from '../support/sql.ts'

export interface Rows {
  notes: { tenant_id: Generated<string>; id: number; body: string; n: Generated<number> }
  tags: { tenant_id: Generated<string>; id: number; note_id: number; label: string }
  countries: { code: string }
  unlisted: { secret: string }
}

export interface Unprotected {
  readonly url: string
  readonly admin: pg.Client
}

/** Each tenant has notes 1 to 3 with one tag each; every value says whose it is. */
export async function unprotected (t: Test): Promise<Unprotected> {
  const url = await freshDatabase(t)
  const admin = await connect(t, url)
  await admin.query(`
    create table notes (tenant_id text not null, id int not null, body text not null, n int not null
      default 0, primary key (tenant_id, id));
    create unique index on notes (body);
    create table tags (tenant_id text not null, id int not null, note_id int not null, label text not
      null, primary key (tenant_id, id));
    create table countries (code text primary key);
    create table unlisted (secret text);
    insert into countries values ('NL'), ('DE');
    insert into unlisted values ('nobody''s');
    insert into notes select t, i, t || ':' || i, i from unnest(array['acme', 'globex']) t,
      generate_series(1, 3) i;
    insert into tags select t, i, i, t || ':tag:' || i from unnest(array['acme', 'globex']) t,
      generate_series(1, 3) i;
    analyze`)
  return { url, admin }
}

/** The suite's database with isolation `row`, booted; closed when the test ends. */
export async function openRow (
  t: Test,
  url: string,
  { database, ...options }: Partial<Omit<TenantDatabaseOptions, 'database'>> & {
    database?: Partial<DatabaseConnectionOptions>
  } = {}
): Promise<DatabaseRuntime> {
  const opened = openDatabase(resolveDatabaseOptions({
    database: { url, ...database },
    isolation: 'row',
    tables: { tenant: ['notes', 'tags'], shared: ['countries'] },
    registry: memoryRegistry([]),
    ...options
  }))
  t.teardown(() => opened.close())
  await opened.boot()
  return opened
}

const silent = { info () {}, warn () {}, error () {} }

/** The handle of a tenant. Its scope ends with the test. */
export function dbOf (
  t: Test,
  database: DatabaseRuntime,
  id: string,
  isolation: 'row' | 'rls' = 'rls'
): Kysely<Rows> {
  const scope = new TenantScope(toTenant({ id, slug: `slug-of-${id}`, isolation }), silent)
  t.teardown(() => scope.abort())
  return database.forScope(scope) as unknown as Kysely<Rows>
}
