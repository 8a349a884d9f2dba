// A tenant is written while it moves. The writes happen at points that are known: before, within and after the copy, and just before the lock.
import type { MoveInput } from '@fastify-tenancy/manager'
import t from 'tap'

import { isLong } from '../support/long.ts'
import { ask } from '../support/sql.ts'
import { mover, rows, traces } from './mover.ts'
import { change, fill } from './traffic.ts'

const served = ['capture', 'rows of posts', 'snapshot', 'follow']

const ways: readonly [MoveInput, string, string?][] = [
  [{ isolation: 'schema' }, 'schema'],
  [{ isolation: 'database' }, 'database'],
  [{ isolation: 'rls', shard: 'eu' }, 'rls', 'eu'],
  [{ shard: 'default' }, 'rls', 'default']
]

t.test('a tenant that is written in every way while it moves loses nothing and has nothing twice, in any strategy and between shards', { buffered: true }, async t => {
  const { on, id, place, move } = await mover(t, isLong ? ['eu'] : [])
  await on.manager.create({ slug: 'globex', id: 'globex-1' })
  await on.manager.create({ slug: 'acme', id })
  const neighbour = { ...place('rls'), tenant: 'globex-1' }
  for (const each of [neighbour, place('rls')]) await ask(each.url, fill(each))
  let source = place('rls')
  let n = 0
  const statements = new Set<string>()
  for (const [input, isolation, shard] of isLong ? ways : ways.slice(0, 2)) {
    const name = `to ${isolation} on ${shard ?? 'the same'}`
    const target = place(isolation, shard)
    const before = await rows(source)
    let rounds = 0
    const { paused } = await move(input, source, step => {
      if (step === 'changes') rounds++
      if (!served.includes(step)) return undefined
      statements.add(step)
      n++
      return `${change(source, n)} ${source === neighbour || source.url !== neighbour.url ? '' : change(neighbour, n)}`
    })
    t.equal(rounds, 2, `${name}: change by change, while it is served and at the end`)
    t.ok(paused > 0, `${name}: it says how long it paused`)
    const [was, now] = [await rows(source), await rows(target)]
    t.notSame(was, before, `control: ${name}, it was written meanwhile`)
    t.same(now, was, `${name}: the rows are those that the old home had in the end`)
    t.same(await ask(source.url, traces), [], `${name}: no trigger is left, and nothing of the log`)
    await on.manager.confirmMove({ id })
    source = target
  }
  t.same([...statements].toSorted(), served.toSorted(), 'control: it was written at each of these points')
})
