// Kinds of leak that the kit was not written for.
import { assertIsolated } from '@fastify-tenancy/testing'
import t from 'tap'

import { newPair, openWorld } from './kit-world.ts'
import { otherApp, others } from './more-app.ts'

t.test('ISO-KIT leaks of further kinds are found', async t => {
  const world = await openWorld(t)
  const app = await otherApp(t, world)
  const { report } = await assertIsolated(app, await newPair(world)).then(
    found => ({ report: found }),
    (error: { report: unknown }) => error
  )
  for (const [name, said] of Object.entries(others)) t.match(String(report), said, name)
})
