// DAT-16: one of several shards is down when the application boots.
import { channels } from '@fastify-tenancy/core'
import Fastify, { type FastifyInstance } from 'fastify'
import tenancy from 'fastify-tenancy'
import t, { type Test } from 'tap'

import { gate } from '../support/gate.ts'
import { provision, type Provisioned } from '../support/tenants.ts'
import { until } from '../support/until.ts'

/** The events of degraded and recovered parts from now to the end of the test. */
function events (t: Test): string[] {
  const told: string[] = []
  const degraded = ({ part }: { part: string }): number => told.push(`degraded ${part}`)
  const recovered = ({ part }: { part: string }): number => told.push(`recovered ${part}`)
  channels.degraded.subscribe(degraded)
  channels.recovered.subscribe(recovered)
  t.teardown(() => {
    channels.degraded.unsubscribe(degraded)
    channels.recovered.unsubscribe(recovered)
  })
  return told
}

interface World {
  readonly app: FastifyInstance
  readonly eu: Provisioned
  readonly logged: { level: number; msg: string }[]
  readonly open: () => Promise<void>
  status(slug: string): Promise<number>
}

async function world (t: Test): Promise<World> {
  const [home, eu] = await Promise.all([provision(t), provision(t)])
  await home.admin(`insert into tenancy.tenants (id, slug, name, status, plan, isolation, shard)
    values ('a', 'acme', 'a', 'active', 'free', 'rls', 'default'), ('b', 'baker', 'b', 'active', 'free',
    'rls', 'eu')`)
  await eu.admin("insert into notes (tenant_id, body) values ('b', 'theirs'), ('x', 'of another')")
  const { url, open } = await gate(t, eu.url)
  const logged: World['logged'] = []
  const app = Fastify({
    logger: { stream: { write: (line: string) => logged.push(JSON.parse(line) as World['logged'][0]) } }
  })
  t.teardown(() => app.close())
  await app.register(tenancy, {
    baseDomain: 'example.com',
    database: { url: home.url, registryUrl: home.registryUrl, shards: { eu: url } },
    tables: home.tables,
    rls: { secret: home.secret ?? '' }
  })
  app.get('/', request => request.db.selectFrom('notes' as never).selectAll().execute())
  await app.ready()
  const status = async (slug: string): Promise<number> =>
    (await app.inject({ url: '/', headers: { host: `${slug}.example.com` } })).statusCode
  return { app, eu, logged, open, status }
}

t.test('DAT-16 TEL-14 a shard that is down at boot is named, answers 503, and recovers', async t => {
  const told = events(t)
  const { app, logged, open, status } = await world(t)
  t.ok(
    logged.some(({ level, msg }) =>
      level === 40 && /shard 'eu', database .* cannot be reached as login/.test(msg)
    )
  )
  t.equal(await status('acme'), 200)
  t.equal(await status('baker'), 503)
  t.match(app.tenancy.health().database, { status: 'degraded', shards: { default: 'ok', eu: 'down' } })
  t.ok(app.tenancy.isReady(), 'other tenants keep their service')
  await until(() => told.length > 0)
  t.same(told, ['degraded shard eu'], 'listeners of the channels are told')
  await open()
  await until(async () => await status('baker') === 200)
  t.match(app.tenancy.health().database.shards, { eu: 'ok' })
  const { body } = await app.inject({ url: '/', headers: { host: 'baker.example.com' } })
  t.match(JSON.parse(body), [{ body: 'theirs' }])
  t.equal((JSON.parse(body) as unknown[]).length, 1)
  t.ok(logged.some(({ msg }) => /shard 'eu' passed its checks/.test(msg)))
  await until(() => told.length > 1)
  t.same(told, ['degraded shard eu', 'recovered shard eu'])
})

t.test('DAT-16 a shard that comes back without its policies serves no tenant', async t => {
  const { app, eu, logged, open, status } = await world(t)
  await eu.admin('alter table notes disable row level security')
  await open()
  await until(() =>
    logged.some(({ level, msg }) => level === 50 && /shard 'eu': table 'notes' is not protected/.test(msg))
  )
  t.equal(await status('baker'), 503)
  t.equal(await status('acme'), 200)
  t.match(app.tenancy.health().database.shards, { eu: 'down' }, 'although its server answers')
})

t.test('DAT-16 a shard that refuses the login stops the boot with the next step', async t => {
  const [home, eu] = await Promise.all([provision(t), provision(t)])
  const app = Fastify()
  t.teardown(() => app.close())
  const wrong = Object.assign(new URL(eu.url), { pathname: '/no_such_database' }).href
  await t.rejects(
    (async () => {
      await app.register(tenancy, {
        baseDomain: 'example.com',
        database: { url: home.url, registryUrl: home.registryUrl, shards: { eu: wrong } },
        tables: home.tables,
        rls: { secret: home.secret ?? '' }
      })
      await app.ready()
    })(),
    {
      message: new RegExp(
        "shard 'eu', database 'no_such_database' on .* cannot be reached as login .*: there " +
          'is no such database: create it'
      )
    }
  )
})
