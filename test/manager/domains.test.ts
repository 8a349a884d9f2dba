// Custom domains: who may claim which, what proves a claim, and what follows when the proof is
// gone.
import Fastify from 'fastify'
import tenancy from 'fastify-tenancy'
import t, { type Test } from 'tap'
import type { DatabaseConnectionOptions } from '@fastify-tenancy/database'

import { dnsServer, type DnsServer } from '../support/dns.ts'
import { until } from '../support/until.ts'
import { lifecycleFixture, tables, type LifecycleFixture } from './lifecycle-fixture.ts'

const conflict = (message: RegExp): { code: string; message: RegExp } => ({
  code: 'FST_TENANCY_TENANT_CONFLICT',
  message
})

async function domainWorld (t: Test): Promise<LifecycleFixture & { dns: DnsServer }> {
  const dns = await dnsServer(t)
  const world = await lifecycleFixture(t, 'rls', {
    baseDomain: 'example.com',
    hosts: ['{tenant}--{any}.preview.dev'],
    dns: { servers: [dns.address], timeout: '1s', misses: 2 }
  })
  return { ...world, dns }
}

t.test('DOM-01 base domains, addresses, public suffixes and invalid host names are refused', async t => {
  const { manager } = await domainWorld(t)
  await manager.create({ slug: 'acme' })
  for (
    const [domain, why] of [
      ['example.com', /own domain 'example\.com'/],
      ['acme.example.com', /own domain/],
      ['a.b.EXAMPLE.com.', /own domain/],
      ['x.preview.dev', /own domain 'preview\.dev'/],
      ['127.0.0.1', /not an IP address/],
      ['[::1]', /not an IP address/],
      ['::1', /not an IP address/],
      ['1.2', /not an IP address/],
      ['0x7f.1', /not an IP address/],
      ['com', /at least two labels/],
      ['localhost', /at least two labels/],
      ['co.uk', /public suffix/],
      ['github.io', /public suffix/],
      ['https://acme.com', /host name/],
      ['acme.com:443', /host name/],
      ['acme.com/x', /host name/],
      ['-a.com', /host name/],
      ['a_b.com', /host name/],
      ['*.acme.com', /host name/],
      ['', /host name/],
      [`${'a'.repeat(64)}.com`, /host name/]
    ] as const
  ) await t.rejects(manager.domains.add({ slug: 'acme' }, domain), conflict(why), domain)
  t.match(await manager.domains.add({ slug: 'acme' }, 'Shop.ACME.com.'), {
    domain: 'shop.acme.com',
    status: 'pending',
    record: { type: 'TXT', name: '_tenancy.shop.acme.com' }
  })
  t.match(await manager.domains.add({ slug: 'acme' }, 'müller.de'), { domain: 'xn--mller-kva.de' })
  t.match(await manager.domains.add({ slug: 'acme' }, 'acme.github.io'), { domain: 'acme.github.io' })
  await manager.domains.remove({ slug: 'acme' }, 'MÜLLER.de')
  t.same((await manager.domains.list({ slug: 'acme' })).map(({ domain }) => domain), ['acme.github.io',
    'shop.acme.com'], 'as it was written when it was added, it is removed')
  await t.rejects(manager.domains.add({ slug: 'nobody' }, 'acme.com'), { code: 'FST_TENANCY_TENANT_UNKNOWN' })
})

t.test('DOM-01 only the DNS record gives a domain to one of two claimants', async t => {
  const { manager, dns, admin } = await domainWorld(t)
  const [acme, globex] = [await manager.create({ slug: 'acme' }), await manager.create({ slug: 'globex' })]
  const { record } = await manager.domains.add({ slug: 'acme' }, 'shop.com')
  t.same((await manager.domains.add({ slug: 'acme' }, 'shop.com')).record, record, 'again: the same record')
  const other = await manager.domains.add({ slug: 'globex' }, 'shop.com')
  t.not(other.record.value, record.value)
  const verified = async (): Promise<string[]> =>
    (await admin<{ tenant_id: string }>(
      'select tenant_id from tenancy.domains where verified_at is not null'
    )).map(({ tenant_id: id }) => id)

  await t.rejects(manager.domains.verify({ slug: 'acme' }, 'shop.com'), {
    code: 'FST_TENANCY_DOMAIN_UNVERIFIED',
    statusCode: 422,
    message: new RegExp(`no TXT record _tenancy\\.shop\\.com with the value ${record.value}`)
  })
  dns.records.set('_tenancy.shop.com', ['v=spf1 -all', other.record.value])
  await t.rejects(manager.domains.verify({ slug: 'acme' }, 'shop.com'), {
    code: 'FST_TENANCY_DOMAIN_UNVERIFIED'
  }, "another's record proves nothing")
  dns.isBroken = true
  await t.rejects(manager.domains.verify({ slug: 'globex' }, 'shop.com'), {
    code: 'FST_TENANCY_DOMAIN_UNVERIFIED',
    message: /no DNS server answered/
  })
  dns.isBroken = false
  t.same(await verified(), [])
  t.match(await manager.domains.verify({ slug: 'globex' }, 'shop.com'), { status: 'verified', misses: 0 })
  t.same(await verified(), [globex.id])
  dns.records.set('_tenancy.shop.com', [record.value])
  await t.rejects(manager.domains.verify({ slug: 'acme' }, 'shop.com'), conflict(/the domain is taken/))
  await t.rejects(
    manager.domains.verify({ slug: 'acme' }, 'else.com'),
    conflict(/has not claimed 'else\.com': add it first/)
  )
  await manager.create({ slug: 'initech' })
  await t.rejects(manager.domains.add({ slug: 'initech' }, 'shop.com'), conflict(/the domain is taken/))
  t.equal((await manager.get({ slug: 'globex' }))?.domains[0], 'shop.com')

  await manager.domains.remove({ slug: 'globex' }, 'Shop.com.')
  await manager.domains.remove({ slug: 'globex' }, 'shop.com')
  t.match(await manager.domains.verify({ slug: 'acme' }, 'shop.com'), { tenant: acme.id, status: 'verified' })
  t.match(await manager.domains.list(), [{ tenant: acme.id, domain: 'shop.com', status: 'verified', record }])
  t.same(await manager.domains.list({ slug: 'globex' }), [])
  t.same(
    (await admin<{ action: string }>(
      "select action from tenancy.audit where action like 'domain%' order by id"
    )).map(({ action }) => action),
    ['domain.add', 'domain.add', 'domain.verify', 'domain.remove', 'domain.verify']
  )
})

t.test('DOM-01 a missing proof lapses after the configured misses, but not in a DNS outage', async t => {
  const { manager, dns, options, admin } = await domainWorld(t)
  await manager.create({ slug: 'acme' })
  const { id } = await manager.create({ slug: 'globex', domains: ['given.com'] })
  const { record } = await manager.domains.add({ slug: 'acme' }, 'shop.com')
  await manager.domains.add({ slug: 'acme' }, 'pending.com')

  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(tenancy, {
    baseDomain: 'example.com',
    database: options.database as DatabaseConnectionOptions,
    tables,
    resolver: { cache: { ttl: '1h', localTtl: '1h', negativeTtl: '1h' } }
  })
  app.get('/', request => request.tenant?.slug)
  const served = async (host: string): Promise<string | number> => {
    const { statusCode, body } = await app.inject({ url: '/', headers: { host } })
    return statusCode === 200 ? body : statusCode
  }
  t.equal(await served('shop.com'), 404, 'a claim alone gives no tenant a domain')
  dns.records.set('_tenancy.shop.com', [record.value])
  await manager.domains.verify({ slug: 'acme' }, 'shop.com')
  await until(async () => await served('shop.com') === 'acme')
  const check = async (): Promise<string[]> =>
    (await manager.domains.reverify()).map(({ domain, state }) => `${domain} ${state}`)
  t.same(await check(), ['shop.com seen'], 'neither claims nor what was given as proved')
  dns.isBroken = true
  for (const again of [1, 2, 3]) t.same(await check(), ['shop.com unanswered'], `an outage, ${again}`)
  dns.isBroken = false
  dns.records.delete('_tenancy.shop.com')
  t.same(await check(), ['shop.com missed'])
  t.equal(await served('shop.com'), 'acme')
  dns.records.set('_tenancy.shop.com', [record.value])
  t.same(await check(), ['shop.com seen'], 'a miss alone is forgotten')
  dns.records.set('_tenancy.shop.com', ['something else'])
  t.same(await check(), ['shop.com missed'])
  t.same(await check(), ['shop.com lapsed'])
  await until(async () => await served('shop.com') === 404)
  t.same(await check(), ['shop.com missed'])
  dns.records.set('_tenancy.shop.com', [record.value])
  t.same(await check(), ['shop.com restored'])
  await until(async () => await served('shop.com') === 'acme')
  t.equal(await served('given.com'), 'globex')
  // A writer that read the tenant before the lapse must not write the old domains back.
  const old = await manager.get({ id })
  await manager.domains.remove({ id }, 'given.com')
  await t.rejects(
    manager.update({ id }, { name: 'Late', version: old!.version }),
    conflict(/changed meanwhile/)
  )
  await until(async () => await served('given.com') === 404)
  t.same(
    (await admin<{ action: string }>(
      "select action from tenancy.audit where action in ('domain.lapse', 'domain.restore') order by id"
    )).map(({ action }) => action),
    ['domain.lapse', 'domain.restore']
  )
  t.notOk(dns.asked.includes('_tenancy.pending.com'))
})

t.test('a function may answer in the place of DNS servers; wrong options are named', async t => {
  const asked: string[] = []
  const world = await lifecycleFixture(t, 'rls', {
    dns: {
      resolve: async name => {
        asked.push(name)
        return [['part one of it, ', 'part two']]
      }
    }
  })
  await world.manager.create({ slug: 'acme' })
  await world.manager.domains.add({ slug: 'acme' }, 'shop.com')
  await world.admin("update tenancy.domains set token = 'part one of it, part two'")
  t.match(await world.manager.domains.verify({ slug: 'acme' }, 'shop.com'), { status: 'verified' })
  t.same(asked, ['_tenancy.shop.com'])
  for (
    const [more, message] of [[{ baseDomain: 'https://x' }, /options\.baseDomain must be a domain/], [{
      hosts: ['example.com']
    }, /options\.hosts\.0 must be a host with one/], [{ dns: { servers: [] } },
      /options\.dns\.servers must name at least one/], [{ dns: { misses: 0 } },
      /options\.dns\.misses must be a positive integer/]] as const
  ) {
    t.throws(() => world.another(more as never), { code: 'FST_TENANCY_OPTION_INVALID', message })
  }
})
