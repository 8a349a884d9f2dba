// The control of the harness: pools as they are commonly written, over correct policies, leak under
// it.
import pg from 'pg'
import t, { type Test } from 'tap'

import { roleName } from '@fastify-tenancy/core/keys'

import { freshDatabase } from '../support/fresh.ts'
import { runIsolationHarness, tags, tenants, type IsolationHandle } from './harness.ts'

type Query = (text: string, values?: unknown[]) => Promise<{ rows: { name: string }[] }>

/** A handle over anything that runs one statement for a tenant. */
function handleOver (query: Query): IsolationHandle {
  const names = async (text: string, values?: unknown[]): Promise<string[]> =>
    (await query(text, values)).rows.map(row => row.name)
  return {
    list: () => names('select name from projects'),
    rename: (from, to) => names('update projects set name = $2 where name = $1 returning name', [from, to]),
    remove: name => names('delete from projects where name = $1 returning name', [name]),
    fail: () => query('select 1 / 0')
  }
}

/**
 * `projects` under a correct forced policy, each tenant's rows in it, and a pool of one connection
 * of a login that the policy binds.
 */
async function naivePool (t: Test): Promise<{ pool: pg.Pool; superuser: pg.Pool }> {
  const url = new URL(await freshDatabase(t))
  const role = roleName('naive', url.pathname.slice(1))
  const superuser = new pg.Pool({ connectionString: url.href, max: 1 })
  await superuser.query(`
    create table projects (tenant_id text not null, name text not null);
    alter table projects enable row level security, force row level security;
    create policy tenant on projects using (tenant_id = nullif(current_setting('app.tenant', true), ''));
    create role ${role} login password 'naive';
    grant select, update, delete on projects to ${role}`)
  for (const tenant of tenants)
    await superuser.query('insert into projects select $1, unnest($2::text[])', [tenant, tags(tenant)])

  url.username = role
  url.password = 'naive'
  const pool = new pg.Pool({ connectionString: url.href, max: 1 })
  t.teardown(() => Promise.all([pool.end(), superuser.end()]))
  return { pool, superuser }
}

const isLeak = {
  name: 'AssertionError',
  message: /^(acme|globex|initech) was shown (acme|globex|initech):\d+ at /
}

t.test('control: a session setting and a query in two round trips leak once two tenants meet', async t => {
  const { pool } = await naivePool(t)
  await t.rejects(
    runIsolationHarness(tenant =>
      handleOver(async (text, values) => {
        await pool.query("select set_config('app.tenant', $1, false)", [tenant])
        return pool.query(text, values)
      })
    ),
    { ...isLeak, message: /at all at once: / }
  )
})

t.test('control: a session setting that is taken back only after success leaks after an error', async t => {
  const { pool } = await naivePool(t)
  await t.rejects(
    runIsolationHarness(tenant =>
      handleOver(async (text, values) => {
        const client = await pool.connect()
        try {
          // "Set already? Save the trip."
          await client.query(
            "select set_config('app.tenant', $1, false) where " +
              "coalesce(current_setting('app.tenant', true), '') = ''",
            [tenant]
          )
          const result = await client.query(text, values)
          await client.query('reset app.tenant')
          return result
        } finally {
          client.release()
        }
      })
    ),
    { ...isLeak, message: /at after an error of another tenant/ }
  )
})

t.test('control: a login that policies do not bind leaks at once', async t => {
  const { superuser } = await naivePool(t)
  await t.rejects(runIsolationHarness(() => handleOver((text, values) => superuser.query(text, values))), {
    ...isLeak,
    message: /at one after the other/
  })
})

t.test('control: a transaction with a local setting for each statement passes the harness', async t => {
  const { pool } = await naivePool(t)
  await t.resolves(runIsolationHarness(tenant =>
    handleOver(async (text, values) => {
      const client = await pool.connect()
      try {
        await client.query('begin')
        await client.query("select set_config('app.tenant', $1, true)", [tenant])
        const result = await client.query(text, values)
        await client.query('commit')
        return result
      } catch (error) {
        await client.query('rollback')
        throw error
      } finally {
        client.release()
      }
    })
  ))
})

t.test('control: reads that are scoped and writes that are not leak', async t => {
  const { superuser } = await naivePool(t)
  await t.rejects(
    runIsolationHarness(tenant => {
      const unscoped = handleOver((text, values) => superuser.query(text, values))
      return {
        ...unscoped,
        list: async () =>
          (await superuser.query<{ name: string }>('select name from projects where tenant_id = $1', [
            tenant
          ])).rows.map(row => row.name)
      }
    }),
    { name: 'AssertionError', message: /^acme renamed a row of globex/ }
  )
})
