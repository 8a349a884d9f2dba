// assertIsolated() on an application with many leaks at once, and on its clean twin.
// The long form has each leak alone.
import t from 'tap'

import { findsAll, reportOf } from './kit-leaks.ts'
import { openWorld } from './kit-world.ts'

const world = await openWorld(t)

t.test(
  'ISO-KIT an application that keeps its tenants apart has no leak, and every part of it was ' +
    'tried',
  async t => {
    const report = await reportOf(t, world)
    t.match(String(report), /^0 leaks, 0 not tried, of 29 routes/)
    t.same(report.proved, ['reply', 'header', 'encoded reply', 'changed reply', 'row', 'log',
      'outgoing request', 'tables', 'cache', 'routes'])
    for (const { name, reached, note } of report.tried.filter(each => !each.name.includes('not-exist')))
      t.ok(reached > 0, `${name} was reached: ${note}`)
  }
)

t.test('ISO-KIT leaks of 11 kinds in one application are all named', async t => {
  await findsAll(
    t,
    world,
    'raw-sql',
    'id-only',
    'query-tenant',
    'log-line',
    'public-cache',
    'etag',
    'sequence',
    'webhook',
    'job',
    'head',
    'events'
  )
})
