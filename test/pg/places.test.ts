// A tenant's pool of pg with a schema or a database of the tenant's own, and behind PgBouncer.
import { noPgBouncer, pgBouncer } from '../support/pgbouncer.ts'
import type pg from 'pg'
import t, { type Test } from 'tap'

import { databaseTemplate, dropDatabases, world as manyPlaces } from '../strategies/strategy-fixture.ts'
import { databaseOf } from '../support/sql.ts'
import { open } from '../support/tenants.ts'
import { poolOf, world } from './world.ts'

/** Writes, reads and undoes as two tenants in turn. */
async function apart (t: Test, acme: pg.Pool, globex: pg.Pool): Promise<void> {
  for (const [name, pool] of [['acme', acme], ['globex', globex]] as const) {
    const client = await pool.connect()
    await client.query('begin isolation level repeatable read')
    await client.query('insert into projects (id, name) values ($1, $2)', [1, name])
    await client.query('savepoint a')
    await client.query('delete from projects')
    await client.query('rollback to a')
    await client.query('commit')
    client.release()
  }
  for (let round = 0; round < 3; round++) {
    for (const [name, pool] of [['acme', acme], ['globex', globex]] as const)
      t.same((await pool.query('select name from projects')).rows, [{ name }])
  }
}

for (const isolation of ['schema', 'database'] as const) {
  t.test(`PG-16 strategy ${isolation}: two tenants see only their own`, async t => {
    const w = await manyPlaces(t, {
      isolation,
      provision: async ({ client }) => {
        await client.query('create table projects (id int primary key, name text not null)')
      },
      database: superUrl => ({ tenants: { url: databaseTemplate(superUrl) } })
    })
    const prefix = databaseOf(w.superUrl)
    const tenants = [await w.create(`${prefix}_a`), await w.create(`${prefix}_g`)]
    dropDatabases(t, w.superUrl, tenants.map(({ placement }) => placement.database ?? '').filter(Boolean))
    const database = await w.open({ pool: { max: 2 } })
    const [acme, globex] = tenants.map(tenant => database.pg.forScope(w.handle(database, tenant).scope))
    if (acme === undefined || globex === undefined) return
    await apart(t, acme, globex)
    await t.rejects(acme.query('set search_path to public'), { code: 'FST_TENANCY_QUERY_REFUSED' })
  })
}

t.test(
  'PG-17 behind PgBouncer in transaction mode: two tenants see only their own',
  { skip: noPgBouncer },
  async t => {
    const w = await world(t)
    const url = await pgBouncer(t, w.on.url)
    const pooled = { ...w, database: await open(t, w.on, { url, pool: { max: 2 } }) }
    await apart(t, poolOf(t, pooled, 'acme').pool, poolOf(t, pooled, 'globex').pool)
  }
)
