import { assertOwn } from '@fastify-tenancy/testing'
import t from 'tap'

import { startPostgres } from '../support/services.ts'
import { until } from '../support/until.ts'
import { serve, slugs, withNotes, type Answer } from './serve.ts'

t.test(
  'PGF-01 a PostgreSQL restart under load: 503 meanwhile, then no error and no foreign row',
  { timeout: 90_000 },
  async t => {
    const postgres = await startPostgres()
    t.teardown(() => postgres.stop())
    process.env.TEST_DATABASE_URL = postgres.url
    const server = await serve(t, await withNotes(t))
    const answers: (Answer & { slug: string })[] = []
    const over = new AbortController()
    const clients = Array.from({ length: 16 }, async (_, n) => {
      while (!over.signal.aborted) {
        const slug = slugs[(n + answers.length) % 2] ?? ''
        answers.push({ slug, ...await server.get(slug, '/notes') })
      }
    })
    const later = async (wanted: number): Promise<void> => {
      const now = answers.length
      await until(() => answers.length >= now + wanted, 20_000)
    }

    await later(200)
    await postgres.crash()
    await later(100)
    const down = answers.length
    await postgres.start()
    // Requests that were waiting for a connection during the outage may still get their 503.
    await until(() => answers.slice(-100).every(({ status }) => status === 200), 20_000)
    const up = answers.length
    await later(500)
    over.abort()
    await Promise.all(clients)

    t.ok(server.isAlive())
    t.same([...new Set(answers.map(({ status }) => status))].toSorted(), [200, 503])
    t.ok(answers.slice(down - 50, down).every(({ status }) => status === 503), 'it was down')
    t.same([...new Set(answers.filter(({ status }) => status === 503).map(({ retryAfter }) => retryAfter))], [
      '1'
    ])
    t.same(answers.slice(up).filter(({ status }) => status !== 200), [], 'no error afterwards')
    const served = answers.filter(({ status }) => status === 200)
    t.same(
      served.filter(({ slug, body }) =>
        assertOwn(body, { tenant: slug, tenants: slugs }) === 0 || JSON.parse(body).length !== 3
      ),
      [],
      'all of its own, and nothing else'
    )
    t.equal(await server.end(), 0)
  }
)
