// The control of the protocol fuzzer: routes over notes that send each statement again when its
// answer is lost.
import Fastify, { type FastifyInstance } from 'fastify'
import pg from 'pg'
import type { Test } from 'tap'

import type { Provisioned } from '../support/tenants.ts'

export async function naiveNotes (t: Test, { superUrl }: Provisioned): Promise<FastifyInstance> {
  const pool = new pg.Pool({ connectionString: superUrl, max: 2 })
  pool.on('error', () => {})
  t.teardown(() => pool.end())
  const app = Fastify()
  t.teardown(() => app.close())
  app.setErrorHandler((_, __, reply) => reply.code(503).send({ code: 'FST_TENANCY_DATABASE_UNAVAILABLE' }))
  const query = async (text: string, values: unknown[]): Promise<object[]> => {
    const ask = async (): Promise<object[]> => (await pool.query<object>(text, values)).rows
    return ask().catch(ask)
  }
  for (const path of ['/notes', '/stream', '/fail'])
    app.get(path, request => query('select body from notes where tenant_id = $1', [tenantOf(request)]))
  for (const [path, count] of [['/notes', 1], ['/pair', 2]] as const) {
    app.post<{ Body: { body: string } }>(path, async (request, reply) => {
      await query(
        'insert into notes (tenant_id, body) select $1, $2 from generate_series(1, $3)',
        [tenantOf(request), request.body.body, count]
      )
      return reply.code(201).send([])
    })
  }
  return app
}

function tenantOf ({ hostname }: { hostname: string }): string {
  return `id-${hostname.split('.')[0]}`
}
