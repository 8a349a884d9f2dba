import Fastify from 'fastify'
import t from 'tap'

import * as core from '@fastify-tenancy/core'
import type { TenancyErrorConstructor } from '@fastify-tenancy/core/errors'

// The list of section 10 of the contract.
const promised: Record<string, { code: string; statusCode: number; retryAfter?: number }> = {
  OptionInvalidError: { code: 'FST_TENANCY_OPTION_INVALID', statusCode: 500 },
  HostInvalidError: { code: 'FST_TENANCY_HOST_INVALID', statusCode: 400 },
  TenantMissingError: { code: 'FST_TENANCY_TENANT_MISSING', statusCode: 400 },
  TenantUnknownError: { code: 'FST_TENANCY_TENANT_UNKNOWN', statusCode: 404 },
  TenantSuspendedError: { code: 'FST_TENANCY_TENANT_SUSPENDED', statusCode: 403 },
  TenantMismatchError: { code: 'FST_TENANCY_TENANT_MISMATCH', statusCode: 403 },
  TenantNotReadyError: { code: 'FST_TENANCY_TENANT_NOT_READY', statusCode: 503, retryAfter: 5 },
  TenantConflictError: { code: 'FST_TENANCY_TENANT_CONFLICT', statusCode: 409 },
  RegistryUnavailableError: { code: 'FST_TENANCY_REGISTRY_UNAVAILABLE', statusCode: 503, retryAfter: 1 },
  RateLimitedError: { code: 'FST_TENANCY_RATE_LIMITED', statusCode: 429 },
  ScopeClosedError: { code: 'FST_TENANCY_SCOPE_CLOSED', statusCode: 500 },
  ContextMissingError: { code: 'FST_TENANCY_CONTEXT_MISSING', statusCode: 500 }
}

const constructors = Object.entries(core).filter(([name]) => /^(?!Internal)[A-Z]\w*Error$/.test(name)) as [
  string,
  TenancyErrorConstructor
][]

t.test('each error has its code, its status, and where to wait helps, the seconds', async t => {
  t.same(
    constructors.map(([name]) => name).toSorted(),
    Object.keys(promised).toSorted(),
    'every code is exported, and no other'
  )
  for (const [name, Constructor] of constructors) {
    const error = new Constructor()
    t.ok(error instanceof Error)
    t.equal(error.code, promised[name]?.code)
    t.equal(error.statusCode, promised[name]?.statusCode, name)
    t.equal(error.retryAfter, promised[name]?.retryAfter, name)
    t.ok(error.message.length > 10, 'it says what happened')
  }
})

t.test('the original is the cause, for the log, and not in what JSON or a loop shows', async t => {
  const cause = new Error('connect ECONNREFUSED 10.0.0.7')
  const error = new core.RegistryUnavailableError('no', { cause })
  t.equal(error.cause, cause)
  t.notMatch(JSON.stringify({ ...error }), /10\.0\.0\.7/)
  t.notOk(Object.hasOwn(new core.RegistryUnavailableError(), 'cause'))
})

t.test('a message is used as it is: what looks like a format is text', async t => {
  t.equal(new core.TenantConflictError('100 %s of %d').message, '100 %s of %d')
})

t.test('thrown in a route, it is the reply, with retry-after', async t => {
  const app = Fastify()
  t.teardown(() => app.close())
  app.get('/', async () => {
    throw new core.TenantNotReadyError(undefined, { cause: new Error('secret') })
  })
  const response = await app.inject('/')
  t.equal(response.statusCode, 503)
  t.equal(response.headers['retry-after'], '5')
  t.same(response.json(), {
    statusCode: 503,
    code: 'FST_TENANCY_TENANT_NOT_READY',
    error: 'Service Unavailable',
    message: 'This tenant is not ready yet'
  })
})

t.test('an error carries its class and code in `name` and in its stack', async t => {
  const error = new core.TenantUnknownError('no such tenant')
  t.equal(error.name, 'TenantUnknownError [FST_TENANCY_TENANT_UNKNOWN]')
  t.equal(error.constructor.name, 'FastifyError', 'by which NestJS recognises it')
  t.match(error.stack, /^TenantUnknownError \[FST_TENANCY_TENANT_UNKNOWN\]: no such tenant\n/)
  t.equal(String(error), 'TenantUnknownError [FST_TENANCY_TENANT_UNKNOWN]: no such tenant')
  t.notOk(Object.keys(error).includes('name'), 'a log line does not repeat it')
})
