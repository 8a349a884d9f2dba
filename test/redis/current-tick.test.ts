import t from 'tap'

import { afterCurrentTick } from '../../packages/redis/src/current-tick.ts'

function fail (): void {
  throw new Error('no')
}

t.test('an error at the end of a tick prevents no other work', async t => {
  const { setImmediate } = globalThis
  t.teardown(() => {
    globalThis.setImmediate = setImmediate
  })
  const turns: (() => void)[] = []
  globalThis.setImmediate = ((end: () => void) => {
    turns.push(end)
  }) as never
  const done: string[] = []
  for (
    const work of [() => {
      done.push('a')
      afterCurrentTick(() => {
        done.push('d')
      })
    }, fail, () => {
      done.push('b')
    }, fail, () => {
      done.push('c')
    }]
  ) afterCurrentTick(work)
  t.equal(turns.length, 1)
  for (let at = 0; at < turns.length; at++) {
    try {
      turns[at]?.()
    } catch (error) {
      t.match(error, { message: 'no' }, 'and is heard of')
    }
  }
  t.same(done, ['a', 'b', 'c', 'd'])
  afterCurrentTick(() => {
    done.push('e')
  })
  turns.at(-1)?.()
  t.equal(done.at(-1), 'e')
})
