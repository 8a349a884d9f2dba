import { toTenant, currentScope } from '@fastify-tenancy/core'
import { mock } from 'node:test'
import t from 'tap'

import { Runs, type RunParts } from '../../packages/fastify-tenancy/src/runs.ts'

t.test('work that exceeds its time is cut off', async t => {
  mock.timers.enable({ apis: ['setTimeout'] })
  t.teardown(() => mock.timers.reset())
  const log = { info () {}, warn () {}, error () {}, child: () => log }
  const runs = new Runs({
    log,
    watch () {},
    cache: undefined,
    database: { pg: undefined } as unknown as RunParts['database']
  })
  const settings = { transaction: false, allow: [] }
  const run = runs.run(toTenant({ id: '1', slug: 'acme' }), ({ signal }) =>
    new Promise((_, reject) => {
      signal.addEventListener('abort', () => {
        reject(new Error('cut'))
      })
    }), settings)
  run.catch(() => {})
  const held = await runs.run(toTenant({ id: '2', slug: 'globex' }), () => {
    const scope = currentScope()
    scope?.waitUntil(new Promise(() => {}))
    return scope
  }, settings)
  const closed = runs.close(5_000)
  mock.timers.tick(4_999)
  t.notOk(held?.isClosed)
  mock.timers.tick(1)
  await closed
  await t.rejects(run, { message: 'the application is closing' })
  t.ok(held?.isAborted)
  await runs.close(5_000)
})
