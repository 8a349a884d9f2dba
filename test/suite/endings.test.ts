import type { FastifyInstance } from 'fastify'
import t from 'tap'

import { dbOf, suite } from '../support/suite.ts'
import { provision } from '../support/tenants.ts'
import { bareApp, end, endingRoutes, kinds, laterPlugin, pathOf, places, type Ending } from './endings.ts'

const on = await provision(t)
const calls: string[] = []
const bare = await bareApp(calls)
t.teardown(() => bare.close())

async function withSuite (tenancy: object): Promise<FastifyInstance> {
  const app = await suite(t, on)
  await app.register(laterPlugin)
  await endingRoutes(app, { tenancy }, request => dbOf(request).insertInto('notes').values({ body: request.url }).execute(), calls)
  await app.listen({ port: 0, host: '127.0.0.1' })
  return app
}

const applications = { plain: await withSuite({}), transaction: await withSuite({ transaction: true }) }

// What was written before the reply began is there afterwards, or is not.
async function rowsOf (path: string): Promise<number> {
  return Number((await on.admin<{ count: string }>('with gone as (delete from notes where body = $1 returning 1) select count(*) from gone', [path]))[0]?.count)
}

const seen = ({ status, body, isCut, calls }: Ending): Ending => ({ status, body: body.replaceAll(/"reqId":"[^"]*"/g, ''), isCut, calls })

for (const place of places) {
  t.test(`END-01 END-06 each kind of ending in ${place}: as without the suite, and the database holds what the status promises`, async t => {
    for (const [name, kind] of Object.entries(kinds)) {
      if (kind.isForHooks === false && place !== 'handler' && place !== 'child') continue
      const path = pathOf(name, place)
      const expected = seen(await end(bare, path, calls))
      for (const [mode, app] of Object.entries(applications)) {
        const got = seen(await end(app, path, calls))
        t.same(got, expected, `${mode}: ${name}`)
        const isDone = got.status !== undefined && got.status < 400 && kind.isFailure !== true
        t.equal(await rowsOf(path), mode === 'plain' || isDone ? 1 : 0, `${mode}: the rows of ${name}, answered ${got.status}`)
      }
    }
  })
}
