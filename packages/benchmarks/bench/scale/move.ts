// A move of 1,000,000 rows from the shared table to a schema and from there to a database, and the
// time in which the tenant was not served.
import { createManager } from '@fastify-tenancy/manager'
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'

import { count, scaleServer, type PartTable } from './part.ts'

interface Moved {
  readonly seconds: number
  readonly pause: number
  readonly megabytes: number
}

export async function move (isShort: boolean): Promise<PartTable> {
  const many = isShort ? 10_000 : 1_000_000
  const server = await scaleServer()
  const options = { database: server.url, tables: { tenant: ['notes'] } }
  const manager = createManager(options)
  await manager.init()
  await server.admin.query(
    `create table notes (tenant_id text not null, id bigint not null, body text not null, amount numeric,
      created_at timestamptz not null, primary key (tenant_id, id))`
  )
  await manager.protect()
  const { id } = await manager.create({ slug: 'acme' })
  await server.admin.query(
    `insert into notes select $1, n, repeat(md5(n::text), 4), n / 7.0, now() + n * interval '1 second'
      from generate_series(1, $2::int) n`,
    [id, many]
  )
  await server.admin.query('analyze notes')
  const toSchema = await moved(server.url, 'schema')
  await manager.confirmMove({ slug: 'acme' })
  await manager.close()
  const toDatabase = await moved(server.url, 'database')
  await server.stop()
  const line = (what: string, { seconds, pause, megabytes }: Moved): string[] => [
    what,
    seconds.toFixed(1),
    (many / seconds).toFixed(0),
    pause.toFixed(2),
    megabytes.toFixed(0)
  ]
  return {
    title: `a move of ${count(many)} rows of 5 columns`,
    head: ['', 's', 'rows a second', 'of these without service, s', 'most memory of the process, MB'],
    rows: [line('to a schema', toSchema), line('from there to a database', toDatabase)]
  }
}

/** Moves the tenant in a process of its own, which reports its peak memory. */
async function moved (url: string, verb: 'schema' | 'database'): Promise<Moved> {
  const child = fork(join(import.meta.dirname, '../manager/transfer-process.ts'), [
    JSON.stringify({ url, verb, folder: '' })
  ], { execArgv: ['--conditions=@fastify-tenancy/source'] })
  const [result] = await once(child, 'message') as [Moved]
  return result
}
