import type { FastifyInstance, FastifyRequest } from 'fastify'
import { sql } from 'kysely'
import t from 'tap'

import { dbOf, suite } from '../support/suite.ts'
import { provision } from '../support/tenants.ts'
import { bareApp, end, endingRoutes, kinds, laterPlugin, pathOf, places, type Ending } from './endings.ts'

const on = await provision(t)

/** An application, and what its error handlers were called with. */
interface Played {
  readonly app: FastifyInstance
  readonly calls: string[]
}

type Write = (request: FastifyRequest, body: string) => Promise<unknown>
const insert: Write = (request, body) => dbOf(request).insertInto('notes').values({ body }).execute()
const insertAndFail: Write = async (request, body) => {
  await insert(request, body)
  await sql`select 1 / 0`.execute(dbOf(request)).catch(() => {})
}

async function play (mode: string, tenancy: object, write: Write = insert): Promise<Played> {
  const calls: string[] = []
  const app = await suite(t, on)
  await app.register(laterPlugin)
  await endingRoutes(app, { tenancy }, request => write(request, `${mode} ${request.url}`), calls)
  await app.listen({ port: 0, host: '127.0.0.1' })
  return { app, calls }
}

const bareCalls: string[] = []
const bare: Played = { app: await bareApp(bareCalls), calls: bareCalls }
t.teardown(() => bare.app.close())
const plain = await play('plain', {})
const transaction = await play('transaction', { transaction: true })
const aborted = await play('aborted', { transaction: true }, insertAndFail)

const seen = ({ status, body, isCut, calls }: Ending): Ending => ({
  status,
  body,
  isCut,
  calls: isCut ? [] : calls
})
const playOn = async ({ app, calls }: Played, path: string): Promise<Ending> =>
  seen(await end(app, path, calls))

// An error rolls back, even if a hook or an error handler replaces the status.
const isError = (call: string): boolean => /^(?:onError|child)/.test(call)

for (const place of places) {
  t.test(`END-01 END-02 END-06 every ending in ${place}: the same reply as without the suite`, async t => {
    const promised: string[] = []
    for (const [name, kind] of Object.entries(kinds)) {
      if (kind.isForHooks === false && place !== 'handler' && place !== 'child') continue
      const path = pathOf(name, place)
      const [expected, ofPlain, ofTransaction, ofAborted] = await Promise.all(
        [bare, plain, transaction, aborted].map(each => playOn(each, path))
      ) as [Ending, Ending, Ending, Ending]
      t.same(ofPlain, expected, `plain: ${name}`)
      t.same(ofTransaction, expected, `transaction: ${name}`)
      promised.push(`plain ${path}`)
      const isDone = (expected.status ?? 500) < 400 && !expected.calls.some(isError)
      if (!isDone) continue
      promised.push(`transaction ${path}`)
      // If the commit fails, the client gets a whole reply for that error. Hooks of onSend may
      // still change that reply.
      if (!place.endsWith('onSend'))
        t.match(ofAborted, { status: 500, isCut: false, body: /rolled back/ }, `its commit fails: ${name}`)
    }
    const rows = await on.admin<{ body: string }>(
      'with gone as (delete from notes returning body) select body from gone'
    )
    t.same(rows.map(({ body }) => body).toSorted(), promised.toSorted(), 'the rows of all')
  })
}
