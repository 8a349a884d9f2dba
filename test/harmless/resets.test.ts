// What is provably harmless costs no reset, seen from the wire; anything else resets the connection
// before another tenant.
import { sql, type Kysely } from 'kysely'
import t, { type Test } from 'tap'

import { tcpProxy } from '../support/tcp-proxy.ts'
import { handle, open, provision, type Provisioned, type Rows } from '../support/tenants.ts'

interface Wire {
  readonly on: Provisioned
  readonly resets: () => number
  db(tenant: string): Kysely<Rows>
}

async function wire (t: Test): Promise<Wire> {
  const on = await provision(t)
  const proxy = await tcpProxy(t, on.url)
  const database = await open(t, { ...on, url: proxy.url }, { pool: { max: 1 }, registryUrl: on.registryUrl })
  // The boot resets the connection that it used itself.
  const sent = proxy.record()
  const handles = new Map<string, Kysely<Rows>>()
  return {
    on,
    resets: () => sent().split('discard all').length - 1,
    db (tenant) {
      const known = handles.get(tenant) ?? handle(t, database, tenant).db
      handles.set(tenant, known)
      return known
    }
  }
}

t.test('CON-05: 1,000 statements of 50 tenants on one connection send no reset', async t => {
  const { resets, db } = await wire(t)
  for (let index = 0; index < 1_000; index++) {
    const one = db(`tenant-${index % 50}`)
    switch (Math.floor(index / 50) % 5) {
      case 0:
        await one.insertInto('notes').values({ body: 'x' }).execute()
        break
      case 1:
        await one.selectFrom('notes').select(['notes.id', 'body']).where('body', 'like', 'x%').orderBy('id')
          .execute()
        break
      case 2:
        await one.updateTable('notes').set(eb => ({ n: eb('notes.n', '+', 1) })).execute()
        break
      case 3:
        await one.transaction().execute(trx => trx.selectFrom('countries').selectAll().execute())
        break
      case 4:
        await one.deleteFrom('notes').where('n', '>', 1).returning('notes.id').execute()
        break
    }
  }
  t.equal(resets(), 0)
  await sql`select 1`.execute(db('tenant-0'))
  t.equal(resets(), 1, 'control: raw SQL resets a connection that other tenants used')
  await db('tenant-1').selectFrom('notes').selectAll().execute()
  t.equal(resets(), 2, 'control: what raw SQL touched is reset before another tenant')
})
