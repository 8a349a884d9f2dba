import { currentTenant, type TenantRecord, type TenantRegistry } from '@fastify-tenancy/core'
import t from 'tap'

import { suite } from '../support/suite.ts'
import { provision } from '../support/tenants.ts'
import { bodies, dbIn, registered } from './work.ts'

const on = await provision(t)
const { registry, setStatus } = registered()
const app = await suite(t, on, { registry })
await app.ready()

t.test('forEach runs for every active tenant in a scope each', async t => {
  await on.admin('truncate notes')
  const result = await app.tenancy.forEach({}, async work => {
    await dbIn(work).insertInto('notes').values({ body: `${currentTenant()?.slug}:1` }).execute()
  })
  t.same(result, { done: 3, failed: 0 })
  t.same(await bodies(on), ['acme:1', 'globex:1', 'initech:1'])
})

t.test('where chooses by plan and status, and includes suspended tenants only by name', async t => {
  const slugs: string[] = []
  await app.tenancy.forEach({ where: { plan: 'pro' } }, ({ tenant }) => {
    slugs.push(tenant.slug)
  })
  await app.tenancy.forEach({ where: { status: ['suspended'] } }, ({ tenant }) => {
    slugs.push(tenant.slug)
  })
  t.same(slugs, ['globex', 'hooli'])
})

t.test('never more than concurrency run at once', async t => {
  for (const concurrency of [1, 2]) {
    let now = 0
    let most = 0
    await app.tenancy.forEach({ concurrency }, async work => {
      most = Math.max(most, ++now)
      await dbIn(work).selectFrom('notes').selectAll().execute()
      now--
    })
    t.equal(most, concurrency)
  }
})

t.test('a failure keeps no other tenant from its run, collected or reported one by one', async t => {
  const turns: string[] = []
  const failing = ({ tenant }: { tenant: { slug: string } }): void => {
    turns.push(tenant.slug)
    if (tenant.slug !== 'globex') throw new Error(`${tenant.slug} failed`)
  }
  const error = await app.tenancy.forEach({ concurrency: 1 }, failing).then(
    () => undefined,
    (reason: unknown) => reason
  )
  t.ok(error instanceof AggregateError)
  t.same((error as AggregateError).errors.map(({ message }: Error) => message), ['acme failed',
    'initech failed'])
  t.same(turns, ['acme', 'globex', 'initech'])

  const told: string[] = []
  t.same(
    await app.tenancy.forEach({
      onError: (reason, tenant) => {
        told.push(`${tenant.slug}: ${(reason as Error).message}`)
      }
    }, failing),
    { done: 1, failed: 2 }
  )
  t.same(told.toSorted(), ['acme: acme failed', 'initech: initech failed'])
})

t.test('an error of onError ends forEach', async t => {
  const turns: string[] = []
  const enough = new Error('enough')
  await t.rejects(
    app.tenancy.forEach({
      concurrency: 1,
      onError: () => {
        throw enough
      }
    }, ({ tenant }) => {
      turns.push(tenant.slug)
      throw new Error('boom')
    }),
    enough
  )
  t.same(turns, ['acme'])
})

t.test('a signal ends running work and starts no more', async t => {
  const turns: string[] = []
  const controller = new AbortController()
  const reason = new Error('deadline')
  const signals: AbortSignal[] = []
  await t.rejects(
    app.tenancy.forEach({ concurrency: 1, signal: controller.signal }, async work => {
      turns.push(work.tenant.slug)
      signals.push(work.signal)
      controller.abort(reason)
      await dbIn(work).selectFrom('notes').selectAll().execute()
    }),
    reason
  )
  t.same(turns, ['acme'])
  t.ok(signals[0]?.aborted)
  await t.rejects(
    app.tenancy.forEach({ signal: AbortSignal.abort(reason) }, ({ tenant }) => {
      turns.push(tenant.slug)
    }),
    reason
  )
  t.same(turns, ['acme'])
})

t.test('a signal that comes while a tenant is looked up keeps its work from being begun', async t => {
  const controller = new AbortController()
  const reason = new Error('deadline')
  async function* list (): AsyncIterable<TenantRecord> {
    for await (const tenant of registry.list()) {
      controller.abort(reason)
      yield tenant
    }
  }
  const overtaken: TenantRegistry = {
    insert: tenant => registry.insert(tenant),
    update: (...args) => registry.update(...args),
    list,
    findById: id => registry.findById(id),
    findBySlug: slug => registry.findBySlug(slug),
    findByDomain: domain => registry.findByDomain(domain)
  }
  const other = await suite(t, on, { registry: overtaken })
  await other.ready()
  await t.rejects(
    other.tenancy.forEach({ signal: controller.signal }, () => {
      t.fail('ran')
    }),
    reason
  )
})

t.test('a tenant suspended after the list was read is skipped', async t => {
  t.teardown(() => setStatus('id-initech', 'active'))
  const turns: string[] = []
  t.same(
    await app.tenancy.forEach({ concurrency: 1 }, async ({ tenant }) => {
      turns.push(tenant.slug)
      if (tenant.slug === 'acme') {
        await setStatus('id-initech', 'suspended')
        await app.tenancy.invalidate({ id: 'id-initech' })
      }
    }),
    { done: 2, failed: 0 }
  )
  t.same(turns, ['acme', 'globex'])
})

t.test('wrong options are refused before anything runs', async t => {
  for (
    const options of [{ concurrency: 0 }, { where: { plans: 'pro' } }, { signal: {} }, { onError: 1 }, {
      each: 1
    }]
  ) {
    await t.rejects(
      app.tenancy.forEach(options as object, () => {
        t.fail('ran')
      }),
      { code: 'FST_TENANCY_OPTION_INVALID' },
      JSON.stringify(options)
    )
  }
})
