import { Redis } from 'ioredis'
import t from 'tap'

import { startCluster } from '../support/cluster.ts'
import { noRedis } from '../support/fresh.ts'
import { until } from '../support/until.ts'
import { get, startApp, tenant, type Answer } from './app.ts'

t.test(
  'on a Cluster of three, processes share each limit of a tenant, exact and leased',
  { skip: noRedis },
  async t => {
    const cluster = await startCluster(t)
    const slugs = ['acme', 'globex', 'initech']
    const tenants = Object.fromEntries(slugs.map(slug => [slug, tenant(slug)]))
    for (const precision of ['exact', 'leased'] as const) {
      const apps = await Promise.all([1, 2, 3].map(() =>
        startApp(t, {
          limits: { default: { rpm: 60, burst: 50, perClient: 40 }, anonymous: { rpm: 4 } },
          redis: cluster.client({ keyPrefix: `${precision}:` }),
          precision
        }, {
          tenants,
          routes: app => app.get('/free', { config: { tenancy: { cost: 0 } } }, async () => ({}))
        })
      ))
      const passed = async (slug: string | undefined, count: number, from: string): Promise<number> => {
        const answers: Answer[] = []
        // A few at a time: the client's timeout is 100 ms, and a busy machine must not cause an
        // outage.
        for (let i = 0; i < count; i += 4)
          answers.push(
            ...await Promise.all(
              apps.flatMap(app => Array.from({ length: 4 }, () => get(app, slug, '/', {}, from)))
            )
          )
        t.ok(
          answers.every(({ status }) => status === 200 || status === 404 || status === 429),
          'and no error'
        )
        return answers.filter(({ status }) => status !== 429).length
      }
      for (const [at, slug] of slugs.entries()) {
        const one = await passed(slug, 20, '192.0.2.1')
        t.ok(one <= 40 && one > 20, `${precision}: ${one} of one client of ${slug}`)
        // Unspent leases have been returned, and the second of the burst quota has passed.
        await until(async () =>
          (await Promise.all(apps.map(app => get(app, slug, '/free', {}, '192.0.2.9')))).every((
            { headers }
          ) => Number(headers['x-ratelimit-remaining']) === 60 - one)
        )
        if (at === 1) { for (const node of cluster.nodes) await forget(node.url) }
        await until(async () => (await get(apps[0]!, slug, '/', {}, '192.0.2.2')).status === 200)
        const others = 1 + await passed(slug, 20, '192.0.2.3')
        t.ok(one + others <= 60 && one + others > 40, `${precision}: ${one} and ${others} of ${slug} in all`)
      }
      t.ok(await passed(undefined, 4, '192.0.2.4') <= 4, 'addresses without a tenant too')
      t.ok(apps.every(app => app.tenantRateLimit.health().store === 'redis'), 'and Redis counted all of it')
    }
  }
)

async function forget (url: string): Promise<void> {
  const raw = new Redis(url)
  await raw.script('FLUSH')
  raw.disconnect()
}
