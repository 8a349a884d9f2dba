// Noise that is no leak.
import { assertIsolated } from '@fastify-tenancy/testing'
import t from 'tap'

import { newPair, openWorld } from './kit-world.ts'
import { noisyApp } from './more-app.ts'

t.test('ISO-KIT times, random values, request ids, limits and counters of a tenant are no leaks', async t => {
  const world = await openWorld(t)
  const app = await noisyApp(t, world)
  t.match(
    String(await assertIsolated(app, await newPair(world)).catch((error: unknown) => error)),
    /^0 leaks, 0 not tried/
  )
})
