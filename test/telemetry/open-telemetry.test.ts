// Spans of statements and of requests, as an exporter gets them.
import { openTelemetry } from '@fastify-tenancy/telemetry'
import { context, SpanStatusCode, trace, type Span } from '@opentelemetry/api'
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks'
import { BasicTracerProvider, InMemorySpanExporter, SimpleSpanProcessor } from '@opentelemetry/sdk-trace-base'
import { sql } from 'kysely'
import t from 'tap'

import { withoutLiterals } from '../../packages/telemetry/src/without-literals.ts'
import { dbOf, noteRoutes, suite } from '../support/suite.ts'
import { provision } from '../support/tenants.ts'

t.test("TEL-05 each statement is a span below its request's, which names the tenant", async t => {
  const exporter = new InMemorySpanExporter()
  const provider = new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] })
  const tracer = provider.getTracer('test')
  context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable())
  const stop = openTelemetry({ tracer })
  t.teardown(stop)
  const on = await provision(t)
  const app = await suite(t, on)
  noteRoutes(app)
  app.get(
    '/literal',
    async request => sql`select 'a person''s name' as "x1", 42 as n, $1::int`.execute(dbOf(request))
  )
  app.get('/failed', async ({ tenancy }) => tenancy.pg.query("select 'secret'::int"))

  app.get(
    '/long',
    async ({ tenancy }) =>
      (await tenancy.pg.query(`select ${'1, '.repeat(1_000)}'${'secret '.repeat(150_000)}'`)).rowCount
  )
  app.get('/odd', async ({ tenancy }) => tenancy.pg.query('x'.repeat(100_000)))

  // As instrumentation of HTTP does: the whole request runs in the span's context.
  const get = async (url: string, method: 'GET' | 'POST' = 'GET'): Promise<Span> => {
    const span = tracer.startSpan(`${method} ${url}`)
    // Awaited in there: inject() sends when it is awaited.
    await context.with(trace.setSpan(context.active(), span), async () => {
      await app.inject({ method, url, headers: { host: 'acme.example.com' } })
    })
    span.end()
    return span
  }
  const spansBelow = (span: Span) =>
    exporter.getFinishedSpans().filter(({ parentSpanContext }) =>
      parentSpanContext?.spanId === span.spanContext().spanId
    )

  const request = await get('/transaction', 'POST')
  const spans = spansBelow(request)
  t.same(spans.map(({ name }) => name), ['INSERT', 'INSERT', 'COMMIT'])
  t.match(spans[0]?.attributes, {
    'db.system.name': 'postgresql',
    'db.operation.name': 'INSERT',
    'db.query.text': 'insert into "notes" ("body") values ($1)',
    'db.response.returned_rows': 1,
    'tenant.id': 'id-acme'
  })
  t.equal(spans[0]?.kind, 2, 'a client')
  t.equal(
    exporter.getFinishedSpans().find(({ name }) => name === 'POST /transaction')?.attributes['tenant.id'],
    'id-acme'
  )
  const [failed] = spansBelow(await get('/failed'))
  t.match(failed?.attributes, {
    'db.response.status_code': '22P02',
    'error.type': '22P02',
    'db.query.text': 'select ?::int'
  })
  t.equal(failed?.status.code, SpanStatusCode.ERROR)
  const [long] = spansBelow(await get('/long'))
  const shown = String(long?.attributes['db.query.text'])
  t.ok(shown.length > 1_000 && shown.length < 10_000, `a text of 1 MB has ${shown.length} characters`)
  t.notMatch(shown, /secret/, 'cut within a value, it shows nothing of it')
  const [odd] = spansBelow(await get('/odd'))
  t.match(odd, { name: /^X{30}$/, attributes: { 'error.type': 'FST_TENANCY_QUERY_REFUSED' } })
  t.notMatch(
    JSON.stringify(failed?.events) + String(failed?.status.message),
    /secret/,
    'no value of a row or text'
  )
  stop()
  const after = exporter.getFinishedSpans().length
  await get('/notes')
  t.equal(exporter.getFinishedSpans().length, after + 1, "the request's own alone")
})

t.test('TEL-06 literals of a text are no part of a span', async t => {
  for (
    const [text, shown] of [
      ["select 'o''clock', E'a\\'b', $$x$$, $t$y$t$, 12.5e3, x1, \"1a\", $12 -- it's",
        'select ?, ?, ?, ?, ?, x1, "1a", $12 '],
      ["/* tenant='a' */ select 1", ' select ?'],
      ["-- a\rselect 'b'", '\rselect ?'],
      ["select $é$secret$é$, a$1, 'never ended", 'select ?, a$1, ?'],
      ['select $$never ended', 'select ?'],
      ["select E'never\\'ended\\", 'select ?'],
      ['select 1 /* never ended', 'select ? ']
    ] as const
  ) t.equal(withoutLiterals(text), shown)
})
