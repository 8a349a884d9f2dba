// Knex on a tenant's pool of pg: its client takes connections from that pool and opens none.
import knex, { type Knex } from 'knex'
import type pg from 'pg'
import t from 'tap'

import { poolOf, world } from './world.ts'

type ClientClass = new(config: object) => Knex.Client & { readonly config: { readonly tenantPool: pg.Pool } }

const PostgresClient = knex({ client: 'pg' }).client.constructor as ClientClass

class TenantClient extends PostgresClient {
  override acquireConnection (): Promise<pg.PoolClient> {
    return this.config.tenantPool.connect()
  }

  override async releaseConnection (client: pg.PoolClient): Promise<void> {
    client.release()
  }
}

const tenantKnex = (tenantPool: pg.Pool): Knex =>
  knex({ client: TenantClient, tenantPool } as unknown as Knex.Config)

t.test('PG-10 Knex: two tenants see only their own rows in all statements', async t => {
  const w = await world(t, { pool: { max: 3 } })
  const [acme, globex] = [tenantKnex(poolOf(t, w, 'acme').pool), tenantKnex(poolOf(t, w, 'globex').pool)]
  for (const [name, db] of [['acme', acme], ['globex', globex]] as const) {
    await db('projects').insert([{ id: 1, name: `${name} 1`, facts: { by: name } }, {
      id: 2,
      name: `${name} 2`
    }])
    t.same(await db('tasks').insert({ id: 1, project_id: 1, title: `${name} task` }).returning('title'), [
      { title: `${name} task` }
    ])
  }
  for (const [name, db] of [['acme', acme], ['globex', globex]] as const) {
    t.same(await db('projects').select('name', 'facts').orderBy('id'), [
      { name: `${name} 1`, facts: { by: name } },
      { name: `${name} 2`, facts: null }
    ])
    t.same(
      await db('projects as p').join('tasks as t', 't.project_id', 'p.id').select('p.name', 't.title'),
      [{ name: `${name} 1`, title: `${name} task` }]
    )
    t.equal((await db.raw('select * from projects where id = ?', [1])).rowCount, 1)
  }
  await acme.transaction(async trx => {
    await trx('projects').update({ name: 'renamed' })
    await t.rejects(
      trx.transaction(async inner => {
        await inner('projects').delete()
        throw new Error('undo')
      }),
      /undo/
    )
    t.same(await trx('projects').count('* as n'), [{ n: '2' }])
  }, { isolationLevel: 'serializable' })
  const trx = await globex.transaction()
  await trx('projects').delete()
  await trx.rollback()
  await t.rejects(
    globex.transaction(inner => inner('projects').insert({ id: 7, name: 'x' }), { readOnly: true }),
    { code: '25006' }
  )
  t.same(await acme('projects').pluck('name'), ['renamed', 'renamed'])
  t.same(await globex('projects').pluck('name').orderBy('id'), ['globex 1', 'globex 2'])
  await t.rejects(acme.raw('set role none'), { code: 'FST_TENANCY_QUERY_REFUSED' })
  await t.rejects(acme.schema.createTable('x', table => table.increments()), {
    code: 'FST_TENANCY_QUERY_REFUSED'
  })
})
