// What is told on the channels that no metric of a request shows.
import { channels, type EventChannel } from '@fastify-tenancy/core'
import { sql } from 'kysely'
import t, { type Test } from 'tap'

import { databaseTemplate, dropDatabases, world } from '../strategies/strategy-fixture.ts'
import { dbOf, suite } from '../support/suite.ts'
import { provision } from '../support/tenants.ts'

/** The events of a channel from now to the end of the test. */
function events<Event> (t: Test, channel: EventChannel<Event>): Event[] {
  const told: Event[] = []
  const listen = (event: Event): void => {
    told.push(event)
  }
  channel.subscribe(listen)
  t.teardown(() => channel.unsubscribe(listen))
  return told
}

t.test('TEL-10 rolled back, refused queries, work across tenants and resolved requests are told', async t => {
  const on = await provision(t)
  const app = await suite(t, on, {
    database: { systemUrl: on.systemUrl },
    isolation: 'row',
    audit: () => {}
  })
  const [rolledBack, refused, bypass, resolved] = [events(t, channels.rolledBack),
    events(t, channels.queryRefused), events(t, channels.bypass), events(t, channels.resolved)]
  app.get('/refused', async request => sql`select 1`.execute(dbOf(request)))
  app.get('/failed', { config: { tenancy: { transaction: true } } }, async request => {
    await dbOf(request).insertInto('notes').values({ body: 'undone' }).execute()
    throw new Error('no')
  })
  const headers = { host: 'acme.example.com' }
  await app.inject({ url: '/refused', headers })
  await app.inject({ url: '/failed', headers })
  await app.tenancy.asSystem({ reason: 'test', actor: 'test' }, async () => {})
  t.match(resolved, [{ tenant: { id: 'id-acme' }, source: 'subdomain' }, { tenant: { id: 'id-acme' } }])
  t.match(rolledBack, [{ tenant: { id: 'id-acme' } }])
  t.match(refused, [{ tenant: { id: 'id-acme' }, text: '', reason: /raw SQL/ }])
  t.same(bypass, [{ reason: 'test', actor: 'test', write: false }])
})

t.test("TEL-11 steps of tenants' lives, and pools of their own databases are told", async t => {
  const [steps, made, evicted] = [events(t, channels.lifecycleStep), events(t, channels.poolMade),
    events(t, channels.poolEvicted)]
  const w = await world(t, {
    isolation: 'database',
    database: superUrl => ({ tenants: { url: databaseTemplate(superUrl), maxPools: 1 } })
  })
  const tenants = [await w.create(`${new URL(w.superUrl).pathname.slice(1)}_a`),
    await w.create(`${new URL(w.superUrl).pathname.slice(1)}_b`)]
  dropDatabases(t, w.superUrl, tenants.map(({ placement }) => placement.database ?? '').filter(Boolean))
  t.ok(steps.length > 2)
  t.match(steps[0], { operation: 'create', tenant: tenants[0]?.id, step: /./ })
  const database = await w.open()
  for (const tenant of tenants) await w.handle(database, tenant).db.selectFrom('notes').selectAll().execute()
  await database.close()
  t.same(made.map(({ tenant }) => tenant), tenants.map(({ id }) => id))
  t.equal(evicted[0]?.tenant, tenants[0]?.id)
})
