// Databases that were restored from a dump, copied or renamed, for the tests of what `init`
// repairs.
import { TenantScope } from '@fastify-tenancy/core/scope'
import { openDatabase, type DatabaseConnectionOptions } from '@fastify-tenancy/database'
import { resolveDatabaseOptions } from '@fastify-tenancy/database/options'
import { createManager, type ManagerOptions } from '@fastify-tenancy/manager'
import { sql } from 'kysely'
import { execFile, spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { promisify } from 'node:util'
import pg from 'pg'
import type { Test } from 'tap'

import { freshDatabase } from '../support/fresh.ts'
import { temporaryFolder } from '../support/services.ts'
import { databaseOf, loginUrl } from '../support/sql.ts'

const secret = 'a secret of the tests, 32 characters and more'
export const noDump = spawnSync('pg_dump', ['--version']).error === undefined
  ? false
  : 'needs pg_dump on PATH (Debian: apt-get install postgresql-client)'

export function optionsOf (superUrl: string, names: string, context: 'setting' | 'role'): ManagerOptions {
  const login = (purpose: string): string => {
    const url = new URL(loginUrl(names, purpose))
    url.host = new URL(superUrl).host
    url.pathname = new URL(superUrl).pathname
    return url.href
  }
  return {
    database: { url: login('app'), ownerUrl: login('owner'), registryUrl: login('registry') },
    rls: { secret, context },
    tables: { tenant: ['notes', 'parts'], shared: ['countries'] },
    provision: async ({ client }) => {
      await client.query('create table notes (id serial primary key, body text)')
    }
  }
}

const ddl = `create table notes (tenant_id text not null, id serial, body text, primary key (tenant_id, id));
    create table countries (code text primary key); insert into countries values ('NL');
  create table parts (tenant_id text not null, note int not null, foreign key (tenant_id, note)
    references notes)`

/** An application with a tenant of each strategy and one row for each. */
export async function world (
  t: Test,
  superUrl: string,
  context: 'setting' | 'role' = 'setting'
): Promise<ManagerOptions> {
  const options = optionsOf(superUrl, superUrl, context)
  await onUrl(superUrl, client => client.query(ddl))
  const manager = createManager(options)
  t.teardown(() => manager.close())
  await manager.init({ url: superUrl, tenantRoles: true })
  await onUrl(
    superUrl,
    client => client.query(`alter role "${new URL(loginUrl(superUrl, 'owner')).username}" createrole`)
  )
  const admin = createManager({
    ...options,
    database: { ...options.database as DatabaseConnectionOptions, ownerUrl: superUrl }
  })
  await admin.protect()
  await admin.close()
  await manager.create({ slug: 'acme', id: 'acme-1' })
  await manager.create({ slug: 'globex', id: 'globex-1', isolation: 'schema' })
  await onUrl(
    superUrl,
    client =>
      client.query(
        "insert into notes (tenant_id, body) values ('acme-1', 'acme:1'), ('other', 'other:1'); " +
          'insert into "tenant_globex-1".notes (body) values (\'globex:1\')'
      )
  )
  await manager.close()
  return options
}

export async function onUrl<T> (url: string, work: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  return work(client).finally(() => client.end())
}

/** Boots the application and returns what it reads and writes as each tenant. */
export async function served (options: ManagerOptions): Promise<unknown> {
  const { database, rls = {}, tables = {} } = options
  const opened = openDatabase(resolveDatabaseOptions({ database, rls, tables }))
  try {
    await opened.boot()
    const seen: unknown[] = []
    for (const id of ['acme-1', 'globex-1']) {
      const tenant = await opened.registry.findById(id)
      if (tenant === undefined) throw new Error(`no tenant ${id}`)
      const scope = new TenantScope(tenant, { info () {}, warn () {}, error () {} })
      const db = opened.forScope(scope) as never as {
        selectFrom(table: string): { select(column: string): { execute(): Promise<unknown[]> } }
      }
      await sql`insert into notes (body) values (${`${id} new`})`.execute(db as never)
      seen.push(
        await db.selectFrom('notes').select('body').execute(),
        await db.selectFrom('countries').select('code').execute()
      )
      scope.abort()
    }
    return seen
  } finally {
    await opened.close()
  }
}
export const all = [[{ body: 'acme:1' }, { body: 'acme-1 new' }], [{ code: 'NL' }], [{ body: 'globex:1' }, {
  body: 'globex-1 new'
}], [{ code: 'NL' }]]

/**
 * Asserts three steps: boot refuses and names the command, the command repairs, the application
 * serves.
 */
export async function repaired (
  t: Test,
  options: ManagerOptions,
  superUrl: string,
  said: RegExp
): Promise<void> {
  await t.rejects(
    served(options),
    { code: 'FST_TENANCY_SETUP_INVALID', message: /run `tenancy init`/ },
    'the boot names the command'
  )
  const manager = createManager(options)
  t.teardown(() => manager.close())
  const { remarks } = await manager.init({ url: superUrl, tenantRoles: true })
  t.match(remarks.join('\n'), said, 'what was done is said')
  t.same(await served(options), all, "it serves, and what it serves is the tenant's own")
  t.same(
    (await manager.init({ url: superUrl, tenantRoles: true })).remarks,
    [],
    'again it finds nothing to repair'
  )
  const admin = createManager({
    ...options,
    database: { ...options.database as DatabaseConnectionOptions, ownerUrl: superUrl }
  })
  t.same(
    (await admin.doctor()).findings.filter(({ level, id }) => level === 'error' && id !== 'D308'),
    [],
    'and the doctor no error, but that the same logins serve the other database, too'
  )
  await admin.close()
}

export function named (url: string, name: string): string {
  const other = new URL(url)
  other.pathname = `/${name}`
  return other.href
}

export const another = (): string => `t_${randomBytes(6).toString('hex')}`

/** Creates an empty database. The teardown drops it and its roles. */
export async function empty (t: Test, server: string): Promise<string> {
  const name = another()
  const root = named(server, 'postgres')
  await onUrl(root, client => client.query(`create database ${name}`))
  drop(t, server, name)
  return named(server, name)
}

export function drop (t: Test, server: string, name: string): void {
  t.teardown(() =>
    onUrl(named(server, 'postgres'), async client => {
      await client.query(`drop database if exists ${name} with (force)`)
      const { rows } = await client.query<{ rolname: string }>(
        "select rolname from pg_roles where rolname like '%\\_' || substr(md5($1), 1, 8)",
        [name]
      )
      for (const { rolname } of rows) await client.query(`drop role if exists "${rolname}"`).catch(() => {})
    })
  )
}

/** Copies a database as a template and then renames the original. */
export async function copiedAndRenamed (t: Test, context: 'setting' | 'role'): Promise<void> {
  const superUrl = await freshDatabase(t)
  const options = await world(t, superUrl, context)
  const copy = another()
  await onUrl(
    named(superUrl, 'postgres'),
    client => client.query(`create database ${copy} template ${databaseOf(superUrl)}`)
  )
  drop(t, superUrl, copy)
  await repaired(
    t,
    optionsOf(named(superUrl, copy), superUrl, context),
    named(superUrl, copy),
    /what role tenancy_owner_\w+ owned in this database belongs to tenancy_owner_\w+ now/
  )
  t.same(await served(options), all, 'the original serves as before')
  const renamed = another()
  await onUrl(
    named(superUrl, 'postgres'),
    client => client.query(`alter database ${databaseOf(superUrl)} rename to ${renamed}`)
  )
  drop(t, superUrl, renamed)
  await onUrl(
    named(superUrl, renamed),
    client =>
      client.query(
        'delete from notes where body like \'% new\'; delete from "tenant_globex-1".notes ' +
          "where body like '% new'"
      )
  )
  await repaired(
    t,
    optionsOf(named(superUrl, renamed), superUrl, context),
    named(superUrl, renamed),
    /those roles stay/
  )
}

// Never use a `*Sync` call here. A server started by this process logs into a pipe that this
// process must drain, otherwise the server blocks.
export const run = promisify(execFile)

/** Continues after errors, as psql does, for example after a missing role. */
export async function restore (file: string, url: string): Promise<void> {
  await run('psql', ['--quiet', '--no-psqlrc', '--file', file, url])
}

/** Returns the path of a dump of a database. */
export async function dump (source: string, ...flags: string[]): Promise<string> {
  const file = join(temporaryFolder(), another())
  await run('pg_dump', [...flags, '--file', file, source])
  return file
}
