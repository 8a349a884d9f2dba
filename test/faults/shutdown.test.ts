// A process that gets SIGTERM while it serves requests.
import { assertOwn } from '@fastify-tenancy/testing'
import { Agent } from 'node:http'
import t from 'tap'

import { isLong } from '../support/long.ts'
import { until } from '../support/until.ts'
import { serve, slugs, withNotes } from './serve.ts'

t.test(
  'SHU-01 on SIGTERM fifty requests are answered in full, and the process exits with 0',
  { timeout: 60_000 },
  async t => {
    const server = await serve(t, await withNotes(t))
    const kept = new Agent({ keepAlive: true, maxSockets: 1 })
    t.equal((await server.get('acme', '/notes', kept)).status, 200)
    const underWay = Array.from({ length: 50 }, async (_, n) => {
      const slug = slugs[n % 2] ?? ''
      return { slug, ...await server.get(slug, '/slow') }
    })
    await until(() => server.running() === 51)
    const ended = server.end()
    await until(async () => [0, 503].includes((await server.get('acme', '/notes')).status))
    t.ok(
      [0, 503].includes((await server.get('acme', '/notes', kept)).status),
      'on a connection that was kept too'
    )
    for (const { slug, status, body } of await Promise.all(underWay)) {
      t.equal(status, 200)
      t.equal(assertOwn(body, { tenant: slug, tenants: slugs }), 1)
      t.equal(JSON.parse(body).length, 3)
    }
    t.equal(await ended, 0)
  }
)

for (
  const path of isLong
    ? ['/query-without-end', '/transaction-without-end', '/without-end']
    : ['/transaction-without-end']
) {
  t.test(`SHU-04 ${path}: at the deadline open requests are cut off, and the process exits with 0`, {
    timeout: 60_000
  }, async t => {
    const on = await withNotes(t)
    const server = await serve(t, on, { CLOSE_TIMEOUT: '300ms' })
    const cut = server.get('acme', path)
    const statements = async (): Promise<number> =>
      (await on.admin(
        'select from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid() ' +
          "and state <> 'idle'"
      )).length
    await until(async () => server.running() === 1 && (path === '/without-end' || await statements() === 1))
    const began = performance.now()
    t.equal(await server.end(), 0)
    t.ok(performance.now() - began >= 300, 'it was given its time')
    t.equal((await cut).status, 0)
    await until(async () => await statements() === 0)
    t.equal((await on.admin("select from notes where body = 'acme:never'")).length, 0, 'rolled back')
  })
}
