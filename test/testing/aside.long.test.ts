// Ten kinds of leak kept aside: the kit was not written for any of them.
import { assertIsolated } from '@fastify-tenancy/testing'
import t from 'tap'

import { aside, asideApp } from './aside-app.ts'
import { newPair, openWorld } from './kit-world.ts'

t.test('ISO-KIT kinds of leak that were kept aside are found', async t => {
  const world = await openWorld(t)
  const app = await asideApp(t, world)
  const { report } = await assertIsolated(app, await newPair(world)).then(
    found => ({ report: found }),
    (error: { report: unknown }) => error
  )
  for (const [name, said] of Object.entries(aside)) t.match(String(report), said, name)
  if (process.env.SHOW) console.error(String(report))
})
