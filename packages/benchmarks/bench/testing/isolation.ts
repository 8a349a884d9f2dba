// Issue 18: assertIsolated() over an application of 50 routes and 20 tables, in seconds.
import { createManager } from '@fastify-tenancy/manager'
import { assertIsolated } from '@fastify-tenancy/testing'
import Fastify, { type FastifyInstance, type FastifyRequest } from 'fastify'
import tenancy from 'fastify-tenancy'
import type { Kysely } from 'kysely'
import pg from 'pg'

import { startPostgres } from '../../../../test/support/services.ts'
import { markdown, report } from '../../src/report.ts'

const target = 30
const names = Array.from({ length: 20 }, (_, at) => `thing${at + 1}s`)
const secret = 'a secret of the benchmark that is long enough'

type Id = { Params: { id: string } }
type Name = { Body: { name: string } }
type Rows = Record<string, Record<string, unknown>>

const dbOf = (request: FastifyRequest): Kysely<Rows> => request.db as unknown as Kysely<Rows>

/** 50 routes: list, read and create for each of the first tables, update and delete for some. */
function routes (app: FastifyInstance): number {
  let count = 0
  const body = {
    type: 'object',
    required: ['name'],
    additionalProperties: false,
    properties: {
      name: { type: 'string', minLength: 1, maxLength: 100 },
      note: { type: 'string', maxLength: 100 }
    }
  }
  const params = { type: 'object', properties: { id: { type: 'string', format: 'uuid' } } }
  for (const [at, name] of names.entries()) {
    app.get(`/${name}`, async request => dbOf(request).selectFrom(name).selectAll().limit(20).execute())
    app.get<Id>(
      `/${name}/:id`,
      { schema: { params } },
      async (request, reply) =>
        await dbOf(request).selectFrom(name).selectAll().where('id', '=', request.params.id)
          .executeTakeFirst() ?? reply.code(404).send()
    )
    count += 2
    if (at >= 10) continue
    app.post<Name>(
      `/${name}`,
      { schema: { body } },
      async (request, reply) =>
        reply.code(201).send(
          await dbOf(request).insertInto(name).values({ name: request.body.name }).returningAll()
            .executeTakeFirst()
        )
    )
    count++
  }
  return count
}

const server = await startPostgres()
const client = new pg.Client({ connectionString: server.url })
await client.connect()
const tables = { tenant: names }
const manager = createManager({ database: server.url, rls: { secret }, tables })
await manager.init()
for (const [at, name] of names.entries()) {
  const parent = at === 0 ? undefined : names[at - 1]
  await client.query(
    `create table ${name} (tenant_id uuid not null, id uuid not null default gen_random_uuid(),
    name text not null, note text, amount int not null default 0, ${
      parent === undefined ? '' : 'parent_id uuid,'
    } primary key (tenant_id, id)
    ${
      parent === undefined
        ? ''
        : `, foreign key (tenant_id, parent_id) references ${parent} (tenant_id, id) on delete cascade`
    })`
  )
}
await manager.protect()
const [victim, attacker] = [await manager.create({ slug: 'victim' }),
  await manager.create({ slug: 'attacker' })]
await manager.close()

const app = Fastify({ exposeHeadRoutes: false })
await app.register(tenancy, { baseDomain: 'example.com', database: server.url, rls: { secret }, tables })
const count = routes(app)
const [began, cpu] = [performance.now(), process.cpuUsage()]
const { tried } = await assertIsolated(app, { victim: { id: victim.id }, attacker: { id: attacker.id } })
const seconds = (performance.now() - began) / 1_000
const { user, system } = process.cpuUsage(cpu)
const requests = tried.reduce((sum, line) => sum + line.requests, 0)
await app.close()
await client.end()
await server.stop()

report(
  'isolation',
  markdown(['', 'requests and statements', 'seconds', 'client CPU, seconds', 'target'], [[
    `${count} routes, ${names.length} tables`,
    String(requests),
    seconds.toFixed(1),
    ((user + system) / 1e6).toFixed(1),
    `under ${target} s ${seconds < target ? '✓' : '**missed**'}`
  ]])
)
process.exit()
