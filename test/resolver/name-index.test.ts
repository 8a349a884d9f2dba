// When the index of all names is read again.
import { memoryRegistry } from '@fastify-tenancy/core'
import { mock } from 'node:test'
import t from 'tap'

import { NameIndex } from '../../packages/resolver/src/name-index.ts'
import { until } from '../support/until.ts'

t.test('while the registry reports each write, the list of all tenants is not reread', async t => {
  mock.timers.enable({ apis: ['setInterval'] })
  t.teardown(() => mock.timers.reset())
  const registry = memoryRegistry([{ id: 'a', slug: 'acme' }])
  const { list } = registry
  let lists = 0
  registry.list = filter => {
    lists++
    return list.call(registry, filter)
  }
  let isHearing = true
  const index = new NameIndex(registry, 1_000)
  index.start(() => isHearing)
  t.teardown(() => index.stop())
  const lacks = (value: string): boolean => index.lacks({ kind: 'slug', value })
  await until(() => lacks('globex'))
  mock.timers.tick(10_000)
  t.equal(lists, 1)

  isHearing = false
  mock.timers.tick(3_000)
  t.equal(lists, 4, 'control: without the listener every interval reads')

  isHearing = true
  index.invalidateAll()
  t.equal(lists, 5)
  t.notOk(lacks('globex'), 'after a gap nothing is denied until all names are read')
  await until(() => lacks('globex'))
  mock.timers.tick(10_000)
  t.equal(lists, 5)
})

t.test('a reading that failed is made up for at the next interval', async t => {
  mock.timers.enable({ apis: ['setInterval'] })
  t.teardown(() => mock.timers.reset())
  const registry = memoryRegistry([{ id: 'a', slug: 'acme' }])
  const { list } = registry
  let isDown = true
  registry.list = filter => {
    if (isDown) throw new Error('down')
    return list.call(registry, filter)
  }
  const index = new NameIndex(registry, 1_000)
  index.start(() => true)
  t.teardown(() => index.stop())
  isDown = false
  await until(() => {
    mock.timers.tick(1_000)
    return index.lacks({ kind: 'slug', value: 'globex' })
  })
})
