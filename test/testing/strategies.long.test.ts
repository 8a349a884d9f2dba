// The quickstart under each strategy with tables of its own kind: the kit tries them all and finds nothing.
import { assertIsolated } from '@fastify-tenancy/testing'
import { join } from 'node:path'
import t from 'tap'

import { buildApp } from '../../examples/quickstart/src/app.ts'
import { freshDatabase } from '../support/fresh.ts'

const limitsFile = join(import.meta.dirname, '../../examples/quickstart/test/unlimited.json')

for (const isolation of ['row', 'schema', 'database'] as const) {
  t.test(`ISO-KIT the quickstart has no leak with ISOLATION=${isolation}`, async t => {
    const databaseUrl = await freshDatabase(t)
    const app = await buildApp({
      baseDomain: 'example.com',
      databaseUrl,
      limitsFile,
      isolation,
      logger: false
    })
    t.teardown(() => app.close())
    const report = await assertIsolated(app, { victim: { slug: 'globex' }, attacker: { slug: 'acme' } })
    t.match(String(report), /^0 leaks, 0 not tried/)
    for (const table of ['projects', 'tasks'])
      t.ok(report.tried.some(({ name, reached }) => name === `table ${table}` && reached > 5), table)
  })
}
