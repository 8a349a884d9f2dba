// A manager and the application share one embedded database: what the manager changes is seen at
// once.
import { createManager } from '@fastify-tenancy/manager'
import Fastify from 'fastify'
import { openPool, tenancy } from 'fastify-tenancy'
import t from 'tap'

t.test('PGlite: a change by the manager is seen by the next request, without waiting', async t => {
  const pool = openPool('pglite://memory')
  const manager = createManager({ database: pool })
  await manager.init()
  const { id } = await manager.create({ slug: 'acme' })
  const app = Fastify()
  t.teardown(async () => {
    await app.close()
    await manager.close()
    await pool.end()
  })
  await app.register(tenancy, {
    baseDomain: 'example.com',
    database: pool,
    resolver: { cache: { localTtl: '1h', negativeTtl: '1h' } }
  })
  app.get('/', request => ({ plan: request.tenant.plan }))
  const ask = async (host: string): Promise<unknown> => {
    const reply = await app.inject({ url: '/', headers: { host } })
    return reply.json<{ plan?: string; code?: string }>().plan ?? reply.json<{ code: string }>().code
  }

  t.equal(await ask('acme.example.com'), 'free')
  t.equal(await ask('globex.example.com'), 'FST_TENANCY_TENANT_UNKNOWN')
  await manager.update({ id }, { plan: 'pro' })
  t.equal(await ask('acme.example.com'), 'pro')
  await manager.create({ slug: 'globex' })
  t.equal(await ask('globex.example.com'), 'free')
  await manager.suspend({ id })
  t.equal(await ask('acme.example.com'), 'FST_TENANCY_TENANT_SUSPENDED')
})
