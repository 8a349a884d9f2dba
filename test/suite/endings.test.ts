import type { FastifyInstance, FastifyRequest } from 'fastify'
import { sql } from 'kysely'
import t from 'tap'

import { dbOf, suite } from '../support/suite.ts'
import { provision } from '../support/tenants.ts'
import { bareApp, end, endingRoutes, kinds, laterPlugin, pathOf, places, type Ending } from './endings.ts'

const on = await provision(t)
const calls: string[] = []
const bare = await bareApp(calls)
t.teardown(() => bare.close())

type Write = (request: FastifyRequest) => Promise<unknown>
const insert: Write = request => dbOf(request).insertInto('notes').values({ body: request.url }).execute()
const insertAndFail: Write = async request => {
  await insert(request)
  await sql`select 1 / 0`.execute(dbOf(request)).catch(() => {})
}

async function withSuite (tenancy: object, write: Write = insert): Promise<FastifyInstance> {
  const app = await suite(t, on)
  await app.register(laterPlugin)
  await endingRoutes(app, { tenancy }, write, calls)
  await app.listen({ port: 0, host: '127.0.0.1' })
  return app
}

const applications = { plain: await withSuite({}), transaction: await withSuite({ transaction: true }) }
const aborted = await withSuite({ transaction: true }, insertAndFail)

// What was written before the reply began is there afterwards, or is not.
async function rowsOf (path: string): Promise<number> {
  return Number((await on.admin<{ count: string }>('with gone as (delete from notes where body = $1 returning 1) select count(*) from gone', [path]))[0]?.count)
}

const seen = ({ status, body, isCut, calls }: Ending): Ending => ({ status, body, isCut, calls: isCut ? [] : calls })

// An error rolls back, whatever a hook or an error handler makes of the status.
const isError = (call: string): boolean => /^(?:onError|child)/.test(call)

for (const place of places) {
  t.test(`END-01 END-06 each kind of ending in ${place}: as without the suite, and the database holds what the status promises`, async t => {
    for (const [name, kind] of Object.entries(kinds)) {
      if (kind.isForHooks === false && place !== 'handler' && place !== 'child') continue
      const path = pathOf(name, place)
      const expected = seen(await end(bare, path, calls))
      for (const [mode, app] of Object.entries(applications)) {
        const got = seen(await end(app, path, calls))
        t.same(got, expected, `${mode}: ${name}`)
        const isDone = (got.status ?? 500) < 400 && !expected.calls.some(isError)
        t.equal(await rowsOf(path), mode === 'plain' || isDone ? 1 : 0, `${mode}: the rows of ${name}, answered ${got.status}`)
      }
    }
  })
}

for (const place of places) {
  t.test(`END-06 each kind of ending in ${place} where the commit fails: a whole reply of 500, and no rows`, async t => {
    for (const [name, kind] of Object.entries(kinds)) {
      if (kind.isForHooks === false && place !== 'handler' && place !== 'child') continue
      const path = pathOf(name, place)
      const expected = seen(await end(bare, path, calls))
      const isFailure = (expected.status ?? 500) >= 400 || expected.calls.some(isError)
      const got = seen(await end(aborted, path, calls))
      // Hooks of onSend make what they like of the error's reply, too.
      if (!isFailure && !place.endsWith('onSend')) t.match(got, { status: 500, isCut: false, body: /rolled back/ }, name)
      t.equal(await rowsOf(path), 0, `the rows of ${name}`)
    }
  })
}
