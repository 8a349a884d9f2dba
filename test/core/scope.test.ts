import t from 'tap'

import { toTenant, currentScope, currentTenant, TenantUnknownError,
  type ScopeLogger } from '@fastify-tenancy/core'
import { RequestTenancy, resolveRouteTenancy, runInScope, TenantScope } from '@fastify-tenancy/core/scope'

const silent: ScopeLogger = { info () {}, warn () {}, error () {} }
const scopeOf = (slug: string, log = silent): TenantScope =>
  new TenantScope(toTenant({ id: `id-${slug}`, slug }), log)

t.test('POOL-12 an ended scope is closed: closers ran once, and use throws', async t => {
  const scope = scopeOf('acme')
  let closed = 0
  scope.onClose(() => {
    closed++
  })
  scope.assertOpen()
  scope.end()
  scope.end()
  scope.abort()
  t.equal(closed, 1)
  t.ok(scope.isClosed)
  t.notOk(scope.isAborted, 'it ended by itself')
  t.throws(() => scope.assertOpen(), { code: 'FST_TENANCY_SCOPE_CLOSED' })
  t.throws(() => scope.waitUntil(Promise.resolve()), { code: 'FST_TENANCY_SCOPE_CLOSED' })
  scope.onClose(() => {
    closed++
  })
  t.equal(closed, 2, 'a closer that comes late is called at once')
})

t.test('a hold keeps a scope open past its end, and counts once however often it is let go', async t => {
  const scope = scopeOf('acme')
  const [first, second] = [scope.hold(), scope.hold()]
  scope.end()
  t.notOk(scope.isClosed)
  first()
  first()
  t.notOk(scope.isClosed, 'the second hold is still there')
  second()
  t.ok(scope.isClosed)
})

t.test('a hold that is let go before the end closes nothing', async t => {
  const scope = scopeOf('acme')
  scope.hold()()
  t.notOk(scope.isClosed)
})

t.test('waitUntil keeps a scope open until the work has settled', async t => {
  const scope = scopeOf('acme')
  const { promise, resolve } = Promise.withResolvers<void>()
  scope.waitUntil(promise)
  scope.end()
  t.notOk(scope.isClosed)
  resolve()
  await promise
  t.ok(scope.isClosed)
})

t.test('work prolonged with waitUntil that fails is logged, and ends the scope as well', async t => {
  const logged: object[] = []
  const scope = scopeOf('acme', {
    ...silent,
    error: details => {
      logged.push(details)
    }
  })
  const error = new Error('mail server down')
  const { promise, reject } = Promise.withResolvers<void>()
  scope.waitUntil(promise)
  scope.end()
  reject(error)
  await t.rejects(promise)
  t.same(logged, [{ err: error }])
  t.ok(scope.isClosed)
})

t.test('an abort closes at once, whatever holds the scope open, and fires the signal first', async t => {
  const scope = scopeOf('acme')
  const release = scope.hold()
  const seen: string[] = []
  scope.signal.addEventListener('abort', () => {
    seen.push(`signal, closed: ${scope.isClosed}`)
  })
  scope.onClose(() => {
    seen.push('closer')
  })
  scope.abort(new Error('suspended'))
  t.same(seen, ['signal, closed: false', 'closer'])
  t.ok(scope.isClosed && scope.isAborted)
  t.match(scope.signal.reason, { message: 'suspended' })
  release()
  scope.abort(new Error('again'))
  t.match(scope.signal.reason, { message: 'suspended' })
})

t.test('a signal that is first asked for after the abort is aborted', async t => {
  const scope = scopeOf('acme')
  scope.abort()
  t.ok(scope.signal.aborted)
})

function make (scope: TenantScope): { slug: string } {
  return { slug: scope.tenant.slug }
}

t.test('a handle is made once for each scope and key', async t => {
  const [acme, globex] = [scopeOf('acme'), scopeOf('globex')]
  const [db, cache] = [Symbol('db'), Symbol('cache')]
  const handle = acme.handle(db, make)
  t.same(handle, { slug: 'acme' })
  t.equal(acme.handle(db, make), handle)
  t.not(acme.handle(cache, make), handle)
  t.same(globex.handle(db, make), { slug: 'globex' })
  t.equal(acme.handle(Symbol('nothing'), () => undefined), undefined)
})

t.test('CTX-01 the current tenant holds over awaits, timers and nested runs, for many at once', async t => {
  t.equal(currentTenant(), undefined)
  const seen = await Promise.all(Array.from({ length: 300 }, (_, n) => {
    const slug = `t${n % 7}`
    return runInScope(scopeOf(slug), async () => {
      const slugs = [currentTenant()?.slug]
      await new Promise(resolve => setImmediate(resolve))
      slugs.push(currentTenant()?.slug)
      await Promise.all([1, 2].map(async () => {
        await Promise.resolve()
        slugs.push(currentTenant()?.slug)
      }))
      runInScope(scopeOf('inner'), () => t.equal(currentTenant()?.slug, 'inner'))
      slugs.push(currentScope()?.tenant.slug)
      return slugs.every(other => other === slug)
    })
  }))
  t.ok(seen.every(Boolean))
  t.equal(currentScope(), undefined, 'nothing is left outside')
})

t.test('a scope ends its run even when the work throws', async t => {
  await t.rejects(
    runInScope(scopeOf('acme'), async () => {
      throw new Error('boom')
    }),
    { message: 'boom' }
  )
  t.throws(() =>
    runInScope(scopeOf('acme'), () => {
      throw new Error('boom')
    }), { message: 'boom' })
  t.equal(currentTenant(), undefined)
})

t.test('without a tenant, scope accessors throw the refusal or name the missing context', async t => {
  const tenancy = new RequestTenancy(resolveRouteTenancy('optional'))
  for (
    const use of [() => tenancy.requireScope(), () => tenancy.signal,
      () => tenancy.waitUntil(Promise.resolve())]
  ) {
    t.throws(use, { code: 'FST_TENANCY_CONTEXT_MISSING' })
  }
  const scope = scopeOf('acme')
  tenancy.scope = scope
  t.equal(tenancy.requireScope(), scope)
  t.equal(tenancy.signal, scope.signal)
  const { promise, resolve } = Promise.withResolvers<void>()
  tenancy.waitUntil(promise)
  scope.end()
  t.notOk(scope.isClosed)
  resolve()
  await promise
  t.ok(scope.isClosed)
  tenancy.refusal = new TenantUnknownError()
  t.throws(
    () => tenancy.requireScope(),
    { code: 'FST_TENANCY_TENANT_UNKNOWN' },
    'a refusal comes before the scope'
  )
})

t.test('waitUntil() of an ended scope refuses, and a failed promise ends no process', async t => {
  const failures: unknown[] = []
  const scope = new TenantScope(toTenant({ id: 'a', slug: 'acme' }), {
    info () {},
    warn () {},
    error: (fields: object) => {
      failures.push(fields)
    }
  })
  scope.end()
  const work = Promise.reject(new Error('late'))
  t.throws(() => scope.waitUntil(work), { code: 'FST_TENANCY_SCOPE_CLOSED' })
  await new Promise(setImmediate)
  t.match(failures, [{ err: { message: 'late' } }])
  const outside = new RequestTenancy(resolveRouteTenancy({}), undefined)
  t.throws(() => outside.waitUntil(Promise.reject(new Error('lost'))), {
    code: 'FST_TENANCY_CONTEXT_MISSING'
  })
  await new Promise(setImmediate)
})
