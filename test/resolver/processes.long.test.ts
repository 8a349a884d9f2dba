// A thousand concurrent requests in several real processes: how often the registry is read and a
// value is loaded.
import t from 'tap'

import { countingTables, gate } from '../support/counting-registry.ts'
import { freshRedisOptions, noRedis } from '../support/fresh.ts'
import { suiteProcesses } from '../support/suite-processes.ts'
import { provision } from '../support/tenants.ts'
import { until } from '../support/until.ts'

const on = await provision(t)
await on.admin(
  `${countingTables} insert into counted_tenants values ('id-acme', 'acme'), ('id-globex', 'globex')`
)
const reads = async (name: string): Promise<number> =>
  Number((await on.admin<{ n: string }>('select count(*) as n from reads where name = $1', [name]))[0]?.n)
const loads = async (key: string): Promise<number> =>
  Number((await on.admin<{ n: string }>('select count(*) as n from loads where key = $1', [key]))[0]?.n)

t.test(
  'REG-04 a thousand first look-ups are one registry read a process, or one with the lock',
  { skip: noRedis },
  async t => {
    const redis = freshRedisOptions()
    const apps = await suiteProcesses(t, 4, on, {
      redis,
      isCounted: true,
      resolver: { cache: { lock: true } }
    })
    const everybody = async (path: string, host: string): Promise<void> => {
      for (const counts of await Promise.all(apps.map(app => app.tell('ask', host, path, 250))))
        t.same(
          Object.values(counts),
          [250],
          Object.keys(counts).join()
        )
    }
    const find = async (slug: string, id: string): Promise<void> => {
      for (const counts of await Promise.all(apps.map(app => app.tell('find', slug, 250))))
        t.same(counts, {
          [id]: 250
        })
    }
    await find('acme', 'id-acme')
    t.equal(await reads('acme'), 1)
    await find('globex', 'id-globex')
    t.equal(await reads('globex'), 1)
    await find('nosuch', 'undefined')
    t.ok(
      await reads('nosuch') <= 4,
      'an unknown name is not written to Redis, so each process asks the registry'
    )

    t.equal(await loads('locked'), 0)
    await everybody('/value/locked?lock=true', 'acme.example.com')
    t.equal(await loads('locked'), 1, 'and the same of the cache')
    await on.admin('select pg_advisory_lock($1)', [gate])
    const free = everybody('/value/free', 'acme.example.com')
    await until(async () => await loads('free') === 4)
    await on.admin('select pg_advisory_unlock($1)', [gate])
    await free
    t.equal(await loads('free'), 4, 'the control, without lock: one a process')

    await on.admin('truncate reads')
    const unlocked = await suiteProcesses(t, 2, on, {
      redis: { ...redis, keyPrefix: 'without:' + redis.keyPrefix },
      isCounted: true
    })
    await on.admin('select pg_advisory_lock($1)', [gate])
    const asked = Promise.all(unlocked.map(app => app.tell('find', 'acme', 250)))
    await until(async () => await reads('acme') === 2)
    await on.admin('select pg_advisory_unlock($1)', [gate])
    for (const counts of await asked) t.same(counts, { 'id-acme': 250 })
    t.equal(await reads('acme'), 2, 'the control, without the lock: one a process')
  }
)
