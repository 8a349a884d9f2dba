// Each planted leak alone: the kit finds it and says what it is.
import t from 'tap'

import { all, findsAll } from './kit-leaks.ts'
import { openWorld } from './kit-world.ts'
import { leaks } from './leaky-app.ts'

t.test(`ISO-KIT all ${all.length} leaks are found, each alone`, {
  timeout: 900_000
}, async t => {
  const world = await openWorld(t)
  const only = process.env.LEAK?.split(',')
  for (const leak of all.filter(each => only?.includes(each) ?? true))
    await t.test(leaks[leak], t => findsAll(t, world, leak))
})
