// A pool as it is commonly written, over correct policies: what the matrix must find fault with.
import { toTenant } from '@fastify-tenancy/core'
import { TenantScope } from '@fastify-tenancy/core/scope'
import { rolesOf } from '@fastify-tenancy/postgres/roles'
import { Kysely, PostgresDialect } from 'kysely'
import pg from 'pg'
import type { Test } from 'tap'

import { silent, world, type Rows } from '../../strategies/strategy-fixture.ts'
import { connect, databaseOf } from '../../support/sql.ts'
import { pair, valuesOf, type Place } from './place.ts'

/** When the tenant that a session was set to is taken back. */
export type TakenBack = 'never' | 'after success'

/** The tenant is set for the session, on a connection that has none. */
export async function naivePlace (t: Test, takenBack: TakenBack): Promise<Place> {
  const on = await world(t)
  const { app } = rolesOf(databaseOf(on.superUrl))
  const admin = { client: await connect(t, on.superUrl), notes: 'public.notes' }
  const pool = new pg.Pool({ connectionString: on.url, max: 1 })
  pool.on('error', () => {})
  t.teardown(() => pool.end())

  async function connectFor (tenant: string): Promise<object> {
    const client = await pool.connect()
    let hasFailed = false
    const query = async (text: string, values?: unknown[]): Promise<unknown> =>
      client.query(text, values).catch((error: unknown) => {
        hasFailed = true
        throw error
      })
    await query(
      `select set_config('role', $1, false), set_config('tenancy.tenant', $2, false)
      where coalesce(current_setting('tenancy.tenant', true), '') = ''`,
      [app, tenant]
    )
    return {
      query,
      async release () {
        if (takenBack === 'after success' && !hasFailed) await query('reset tenancy.tenant; reset role')
        client.release()
      }
    }
  }

  const tenants = await pair(async name => ({
    id: name,
    name,
    request: () => ({
      scope: new TenantScope(toTenant({ id: name, slug: name }), silent),
      db: new Kysely<Rows>({
        dialect: new PostgresDialect({
          pool: {
            options: {},
            connect: () => connectFor(name) as never,
            end: async () => {}
          }
        })
      })
    })
  }), async ({ name }) => {
    await on.admin(
      "insert into notes (tenant_id, n, body) select $1, n, $1 || ':' || n from generate_series(1, 3) n",
      [name]
    )
    await on.admin("insert into projects values ($1, $1 || ':p')", [name])
  })
  return {
    tenants,
    adminOf: () => admin,
    values: () => valuesOf([admin]),
    isRewritten: false,
    databaseName: databaseOf(on.superUrl)
  }
}
