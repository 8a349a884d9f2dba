// Connections and the tenant context, written by hand, so that these tests do not depend on the
// driver.
import { PGlite } from '@electric-sql/pglite'
import type { SqlClient } from '@fastify-tenancy/postgres/client'
import { signToken, type SigningKey } from '@fastify-tenancy/postgres/context-token'
import { rolesOf, type Roles } from '@fastify-tenancy/postgres/roles'
import pg from 'pg'
import type { Test } from 'tap'

import { freshDatabase } from './fresh.ts'
import { isLong } from './long.ts'

export { databaseOf, loginUrl } from './urls.ts'

/** A connection that closes when the test ends. */
export async function connect (t: Test, url: string): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: url })
  client.on('error', () => {})
  await client.connect()
  t.teardown(() => client.end())
  return client
}

/** Runs one query on a connection of its own. */
export async function ask<R extends pg.QueryResultRow> (
  url: string,
  text: string,
  values: unknown[] = []
): Promise<R[]> {
  const client = new pg.Client(url)
  await client.connect()
  try {
    return (await client.query<R>(text, values)).rows
  } finally {
    await client.end()
  }
}

/** PGlite in memory, with the one method that set-up and registry need. */
export async function connectEmbedded (t: Test): Promise<SqlClient> {
  const lite = await PGlite.create()
  t.teardown(() => lite.close())
  return {
    async query<R> (text: string, values?: unknown[]) {
      if (values === undefined) {
        const results = await lite.exec(text)
        const last = results.at(-1)
        return { rows: (last?.rows ?? []) as R[], rowCount: last?.affectedRows ?? null }
      }
      const { rows, affectedRows } = await lite.query<R>(text, values)
      return { rows, rowCount: affectedRows ?? null }
    }
  }
}

/** Returns user and password of a URL, as `init` takes them. */
export function loginOf (url: string): { user: string; password: string } {
  const { username, password } = new URL(url)
  return { user: decodeURIComponent(username), password: decodeURIComponent(password) }
}

/** Returns the roles of the database of a connection. */
export async function rolesAt (client: SqlClient): Promise<Roles> {
  const { rows: [row] } = await client.query<{ name: string }>('select current_database()::text as name')
  return rolesOf(row?.name ?? '')
}

/**
 * Runs `work` as the application's role, for `tenant` if given, in a transaction that is rolled
 * back.
 */
export async function asTenant<T> (
  client: SqlClient,
  tenant: string | undefined,
  work: () => Promise<T>,
  key?: SigningKey
): Promise<T> {
  const { app } = await rolesAt(client)
  await client.query('begin')
  try {
    await client.query("select set_config('role', $1, true)", [app])
    if (tenant !== undefined) await client.query("select set_config('tenancy.tenant', $1, true)", [tenant])
    if (tenant !== undefined && key !== undefined)
      await client.query("select set_config('tenancy.token', $1, true)", [signToken({ key, tenant })])
    return await work()
  } finally {
    await client.query('rollback')
  }
}

type Engine = readonly [string, (t: Test) => Promise<SqlClient>]

const embedded: Engine = ['PGlite', connectEmbedded]

/**
 * The engines: functions that return a superuser's connection to an empty database. PGlite is slow
 * to boot, so it only runs in the long tests.
 */
export const engines: readonly Engine[] = [
  ['PostgreSQL', async t => connect(t, await freshDatabase(t))],
  ...(isLong ? [embedded] : [])
]
