import type { TenantChange } from '@fastify-tenancy/core'
import { postgresRegistry } from '@fastify-tenancy/database'
import { init } from '@fastify-tenancy/postgres/install'
import pg from 'pg'
import t from 'tap'

import { watchTenants } from '../../packages/postgres/src/registry/watch-tenants.ts'
import { freshDatabase } from '../support/fresh.ts'
import { connect } from '../support/sql.ts'
import { tcpProxy } from '../support/tcp-proxy.ts'
import { until } from '../support/until.ts'

t.test('REG-08 every write is announced with all names of the tenant, also after a reconnect', async t => {
  const url = await freshDatabase(t)
  const admin = await connect(t, url)
  await init(admin)
  const pids: number[] = []
  const registry = postgresRegistry(admin, {
    async listen () {
      const client = new pg.Client({ connectionString: url, application_name: 'watcher' })
      await client.connect()
      const { rows: [row] } = await client.query<{ pid: number }>('select pg_backend_pid() as pid')
      pids.push(row?.pid ?? 0)
      return client
    }
  })
  const heard: (TenantChange | 'all')[] = []
  const stop = await registry.watch?.(change => heard.push(change))
  t.equal(stop?.isHearing?.(), true)
  const last = (): TenantChange | 'all' | undefined => heard.at(-1)
  const next = async (work: () => Promise<unknown>): Promise<TenantChange | 'all' | undefined> => {
    const { length } = heard
    await work()
    await until(() => heard.length > length)
    return last()
  }

  t.same(await next(() => registry.insert({ id: 'a', slug: 'acme' })), {
    id: 'a',
    slugs: ['acme'],
    domains: []
  })
  t.same(await next(() => registry.update('a', 1, { slug: 'acme-inc' })), {
    id: 'a',
    slugs: ['acme', 'acme-inc'],
    domains: []
  })
  t.same(await next(() => admin.query("insert into tenancy.domains values ('a', 'acme.example', now())")), {
    id: 'a',
    slugs: ['acme-inc'],
    domains: ['acme.example']
  })
  t.same(await next(() => admin.query("update tenancy.tenants set status = 'suspended'")), {
    id: 'a',
    slugs: ['acme-inc'],
    domains: ['acme.example']
  }, 'by hand')
  t.same(await next(() => admin.query('delete from tenancy.domains')), {
    id: 'a',
    slugs: ['acme-inc'],
    domains: ['acme.example']
  })
  const claimed = heard.length
  await admin.query("insert into tenancy.domains values ('a', 'claim.example')")
  t.match(
    await next(() =>
      admin.query(
        `insert into tenancy.domains select 'a', 'shop-' || n || '.of-a-long-name.example', now()
          from generate_series(1, 90) n`
      )
    ),
    { id: 'a' },
    'more names than a notification holds'
  )
  t.equal(heard.length, claimed + 1, 'a claim is no change, and 90 rows of one tenant are one')
  t.equal((last() as TenantChange).domains.length, 90)
  await admin.query(
    "insert into tenancy.domains select 'a', 'claim-' || n || '.example' from generate_series(1, 8) n"
  )
  t.equal(heard.length, claimed + 1, 'EDG-16 claims are no news')
  await t.rejects(
    admin.query(
      "insert into tenancy.domains select 'a', 'more-' || n || '.example' from generate_series(1, 9) n"
    ),
    { code: '23514', constraint: 'domains_bound' }
  )
  t.equal(await next(() => admin.query("notify tenancy, 'all'")), 'all')

  t.equal(
    await next(() => admin.query('select pg_terminate_backend($1)', [pids[0]])),
    'all',
    'after a lost connection anything may have changed'
  )
  t.equal(pids.length, 2)
  t.match(await next(() => admin.query('delete from tenancy.tenants')), { id: 'a' })

  await stop?.()
  await until(async () =>
    (await admin.query(
      "select from pg_stat_activity where application_name = 'watcher' and datname = current_database()"
    )).rowCount === 0
  )
  t.equal(pids.length, 2, 'ended, it stays away')
})

t.test('REG-08 a silently dead connection is replaced, and no change is lost', async t => {
  const url = await freshDatabase(t)
  const admin = await connect(t, url)
  await init(admin)
  const proxy = await tcpProxy(t, url)
  const heard: (TenantChange | 'all')[] = []
  const stop = await watchTenants(
    async () => {
      const client = new pg.Client({ connectionString: proxy.url, connectionTimeoutMillis: 100 })
      await client.connect()
      return client
    },
    change => heard.push(change),
    { pulse: { every: 50, within: 50 } }
  )
  t.teardown(stop)
  await postgresRegistry(admin).insert({ id: 'a', slug: 'acme' })
  await until(() => heard.length === 1)
  proxy.blackHole()
  await admin.query("update tenancy.tenants set plan = 'pro'")
  await until(() => proxy.connections === 0)
  await until(() => stop.isHearing?.() === false)
  t.equal(heard.length, 1, 'the control: the message was lost')
  proxy.restore()
  await until(() => heard.length === 2)
  t.equal(heard[1], 'all')
  t.equal(stop.isHearing?.(), true)
})

t.test('a watch that cannot begin rejects; without a listener there is no watch', async t => {
  const url = await freshDatabase(t)
  const admin = await connect(t, url)
  t.equal(postgresRegistry(admin).watch, undefined)
  const gone = postgresRegistry(admin, {
    listen: async () => {
      throw new Error('gone')
    }
  })
  await t.rejects(async () => gone.watch?.(() => {}), { message: 'gone' })
})
