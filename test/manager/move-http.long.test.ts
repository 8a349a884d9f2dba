// Moves under an application with HTTP traffic: no row is lost or foreign, and the pause is a 503
// with retry-after.
import type { Isolation } from '@fastify-tenancy/core'
import Fastify, { type FastifyInstance } from 'fastify'
import tenancy, { type TenancyOptions } from 'fastify-tenancy'
import type { Generated, Kysely } from 'kysely'
import type { AddressInfo } from 'node:net'
import t, { type Test } from 'tap'

import { until } from '../support/until.ts'
import { managerFixture, fixtureOptions, unique, type ManagerFixture } from './manager-fixture.ts'

interface Rows {
  labels: { tenant_id: Generated<string>; word: string; country: string | null }
  projects: { tenant_id: Generated<string>; id: number; name: string; budget: string | null }
}

const labels = (request: { db: unknown }): Kysely<Rows> => request.db as Kysely<Rows>

async function serve (t: Test, { superUrl }: ManagerFixture): Promise<{ app: FastifyInstance; url: string }> {
  const { provision: _, ...options } = fixtureOptions(superUrl)
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(
    tenancy,
    { ...options, baseDomain: 'example.com', resolver: { strategies: ['header'] } } as TenancyOptions
  )
  app.get('/labels', request => labels(request).selectFrom('labels').select('word').execute())
  app.post<{ Body: { words: string[] } }>('/labels', async (request, reply) => {
    const [db, { words }] = [labels(request), request.body]
    if (words.length === 1) await db.insertInto('labels').values({ word: words[0] ?? '' }).execute()
    else {
      // Changes both words, adds one to the count, and inserts a row that is deleted again.
      await db.transaction().execute(async trx => {
        for (const word of words) await trx.insertInto('labels').values({ word }).execute()
        const name = words[0]?.split(':').slice(0, 2).join(':') ?? ''
        await trx.updateTable('projects').set(({ eb }) => ({ budget: eb('budget', '+', '1') })).where(
          'name',
          '=',
          name
        ).execute()
        await trx.deleteFrom('projects').where('name', '=', `${name} before`).execute()
        await trx.insertInto('projects').values({
          id: Number(name.split(':')[1]) + 1_000 * (1 + Number(words[0]?.split(':')[2])),
          name: `${name} before`
        }).execute()
      })
    }
    return reply.code(201).send({})
  })
  await app.listen({ port: 0, host: '127.0.0.1' })
  return { app, url: `http://127.0.0.1:${(app.server.address() as AddressInfo).port}/labels` }
}

class Client {
  readonly #url: string
  readonly #slug: string
  readonly #name: string
  #isStopped = false
  readonly acknowledged = new Set<string>()
  readonly wrong: string[] = []
  refused = 0
  readonly #done: Promise<void>

  constructor (url: string, slug: string, name: string) {
    this.#url = url
    this.#slug = slug
    this.#name = name
    this.#done = this.#run()
  }

  async stop (): Promise<void> {
    this.#isStopped = true
    await this.#done
  }

  async #run (): Promise<void> {
    const headers = { 'x-tenant': this.#slug, 'content-type': 'application/json' }
    for (let n = 0; !this.#isStopped && this.wrong.length === 0; n++) {
      // Every third request is a transaction of two statements.
      const words = n % 3 === 0 ? [`${this.#name}:${n}`, `${this.#name}:${n}b`] : [`${this.#name}:${n}`]
      const written = await fetch(this.#url, { method: 'POST', headers, body: JSON.stringify({ words }) })
      if (this.#isServed(written, 201, await written.text())) {
        for (const word of words) this.acknowledged.add(word)
      }
      const read = await fetch(this.#url, { headers })
      const text = await read.text()
      if (this.#isServed(read, 200, text)) this.#compare(JSON.parse(text) as { word: string }[])
    }
  }

  #isServed ({ status, headers }: Response, expected: number, text: string): boolean {
    if (status === expected) return true
    if (status === 503 && Number(headers.get('retry-after')) > 0) this.refused++
    else this.wrong.push(`${status} ${text}`)
    return false
  }

  #compare (rows: readonly { word: string }[]): void {
    const words = new Set(rows.map(({ word }) => word))
    for (const word of words) if (!word.startsWith(this.#slug)) this.wrong.push(`another tenant's: ${word}`)
    for (const word of this.acknowledged) if (!words.has(word)) this.wrong.push(`lost: ${word}`)
  }
}

t.test('under traffic a tenant moves through every strategy without a lost write or foreign row', async t => {
  const on = await managerFixture(t)
  const { manager } = on
  const id = unique(on, 'a')
  await manager.create({ slug: 'acme', id })
  await manager.create({ slug: 'globex', id: unique(on, 'b') })
  await on.admin(
    "insert into projects (tenant_id, id, name, budget) select $1, n, 'acme:' || n, 0 " +
      "from generate_series(1, 3) n union all select $2, 1, 'globex:1', 0",
    [id, unique(on, 'b')]
  )
  const { url } = await serve(t, on)
  t.teardown(() => Promise.all([...clients, neighbour].map(client => client.stop())))
  const clients: readonly Client[] = ['acme:1', 'acme:2', 'acme:3'].map(name => new Client(url, 'acme', name))
  const neighbour = new Client(url, 'globex', 'globex:1')
  const goOn = async (): Promise<void> => {
    const counts = clients.map(({ acknowledged }) => acknowledged.size)
    await until(
      () =>
        clients.every(({ acknowledged, wrong }, index) =>
          wrong.length > 0 || acknowledged.size > (counts[index] ?? 0) + 3
        ),
      20_000
    )
  }
  await goOn()
  const pauses: string[] = []
  for (const isolation of ['schema', 'database', 'rls', 'row'] as readonly Isolation[]) {
    const before = clients.reduce((sum, { refused }) => sum + refused, 0)
    t.match(await manager.move({ id }, { isolation }), { isolation })
    await goOn()
    if (isolation !== 'row') await manager.confirmMove({ id })
    await goOn()
    pauses.push(`${isolation}: ${clients.reduce((sum, { refused }) => sum + refused, 0) - before} refused`)
  }
  t.comment(pauses.join(', '))
  await Promise.all([...clients, neighbour].map(client => client.stop()))
  t.same(clients.flatMap(({ wrong }) => wrong), [])
  t.same(neighbour.wrong, [])
  t.equal(neighbour.refused, 0, 'the neighbour notices nothing')
  const rows = await on.admin<{ word: string }>('select word from labels where tenant_id = $1', [id])
  const words = new Set(rows.map(({ word }) => word))
  t.same(
    clients.flatMap(({ acknowledged }) => [...acknowledged].filter(word => !words.has(word))),
    [],
    'each write that was acknowledged is there at the end'
  )
  t.equal(words.size, rows.length, 'and none twice')
  const counts = await on.admin<{ name: string; budget: string; before: number }>(
    `
    select name, budget::text, (select count(*)::int from projects b where b.tenant_id = $1
      and b.name = p.name || ' before') as before
    from projects p where tenant_id = $1 and name like 'acme:_' order by 1`,
    [id]
  )
  t.same(
    counts.map(({ name, budget, before }) => [name, budget, before]),
    clients.map((_, index) => {
      const name = `acme:${index + 1}`
      return [name, String(
        rows.filter(({ word }) => word.startsWith(`${name}:`) && word.endsWith('b')).length
      ), 1]
    }),
    'each transaction came over whole: its count is that of its words, and what it deleted is gone'
  )
})
