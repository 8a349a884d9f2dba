// A slug that a host pattern would read as another tenant's slug.
import { memoryRegistry } from '@fastify-tenancy/core'
import { HostPatterns, slugPatternProblem } from '@fastify-tenancy/core/names'
import { createManager } from '@fastify-tenancy/manager'
import { tenantResolver } from '@fastify-tenancy/resolver'
import Fastify from 'fastify'
import tenancy from 'fastify-tenancy'
import t from 'tap'

import { freshDatabase } from '../support/fresh.ts'
import { provision } from '../support/tenants.ts'
import { start } from './app.ts'

const preview = ['{tenant}.example.com', '{tenant}-pr-{any}.example.com']

t.test('EDG-08 which slugs each pattern reads as another one', async t => {
  const cases: [patterns: string[], wrong: string[], right: string[]][] = [
    [preview, ['my-pr-shop', 'a-pr-b-pr-c', 'a-pr'], ['acme', 'pr', 'pr-shop', 'my-prshop', 'a--b']],
    [preview.toReversed(), ['my-pr-shop'], ['acme']],
    [['{tenant}--{any}.preview.dev'], ['a-b--c', 'abc-'].slice(0, 1), ['acme', 'a-b']],
    [['{any}--{tenant}.preview.dev'], ['abc--d'], ['acme', 'a-b']],
    [['shop-{tenant}.example.com', '{tenant}.example.com'], ['shop-acme'], ['acme', 'shop', 'my-shop']],
    [['{tenant}.example.com', '{tenant}.eu.example.com'], [], ['acme', 'my-pr-shop', 'eu-x']],
    [['{any}.{tenant}.example.com'], [], ['acme', 'my-pr-shop']]
  ]
  for (const [hosts, wrong, right] of cases) {
    const patterns = new HostPatterns(hosts)
    for (const slug of wrong)
      t.match(slugPatternProblem(slug, patterns), /the host pattern '[^']+' reads/, `${hosts.join()} ${slug}`)
    for (const slug of right)
      t.equal(slugPatternProblem(slug, patterns), undefined, `${hosts.join()} ${slug}`)
  }
})

t.test('EDG-08 the more specific pattern wins in any order, and an unreachable one is refused', async t => {
  for (const hosts of [preview, preview.toReversed()]) {
    const patterns = new HostPatterns(hosts)
    t.same(
      ['acme.example.com', 'acme-pr-17.example.com', 'acme-pr-a-pr-b.example.com'].map(host =>
        patterns.labelOf(host)
      ),
      ['acme', 'acme', 'acme']
    )
  }
  t.throws(() => new HostPatterns(['{tenant}--{any}.a.dev', '{any}--{tenant}.a.dev']), {
    code: 'FST_TENANCY_OPTION_INVALID',
    message: /takes every host of '\{any\}--\{tenant\}\.a\.dev'/
  })
})

t.test('EDG-08 refused at create, rename and import, with the pattern named', async t => {
  const manager = createManager({ database: await freshDatabase(t), hosts: preview })
  t.teardown(() => manager.close())
  await manager.init()
  const refusal = {
    code: 'FST_TENANCY_TENANT_CONFLICT',
    message: /'\{tenant\}-pr-\{any\}\.example\.com' reads a host of the slug 'my-pr-shop' as that of 'my'/
  }
  await t.rejects(manager.create({ slug: 'my-pr-shop' }), refusal)
  const { id } = await manager.create({ slug: 'shop' })
  await t.rejects(manager.rename({ id }, 'my-pr-shop'), refusal)
})

t.test('EDG-08 refused at boot, with tenant and pattern named', async t => {
  const registry = memoryRegistry([{ id: '1', slug: 'acme' }, { id: 't-17', slug: 'my-pr-shop' }])
  const app = Fastify()
  await app.register(tenantResolver, { hosts: preview, registry })
  await t.rejects(async () => app.ready(), {
    code: 'FST_TENANCY_OPTION_INVALID',
    message: /tenant with the id 't-17'.*'\{tenant\}-pr-\{any\}\.example\.com'.*'my-pr-shop' as that of 'my'/
  })
  await app.close()
  const suite = Fastify()
  const { url: database } = await provision(t, { secret: false })
  await suite.register(tenancy, { hosts: preview, registry, database })
  await t.rejects(async () => suite.ready(), { code: 'FST_TENANCY_OPTION_INVALID' })
  await suite.close()
  await t.resolves(start(t, { hosts: ['{tenant}.example.com'] }), 'control')
  await t.resolves(start(t, { hosts: preview }), 'control')
})

t.test('EDG-08 a registry that cannot list is warned of', async t => {
  let log = ''
  const app = Fastify({
    logger: {
      level: 'warn',
      stream: {
        write: (line: string) => {
          log += line
        }
      }
    }
  })
  t.teardown(() => app.close())
  const registry = memoryRegistry()
  registry.list = () => {
    throw new Error('no list')
  }
  await app.register(tenantResolver, { hosts: preview, registry })
  await app.ready()
  t.match(log, /so the host patterns were not checked: no list/)
})
