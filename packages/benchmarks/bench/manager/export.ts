// Issue 6: the memory of an export of 1,000,000 rows, and the time of an import and a move of as
// many rows. `-- 10000` for fewer.
import { createManager } from '@fastify-tenancy/manager'
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import pg from 'pg'

import { startPostgres, temporaryFolder } from '../../../../test/support/services.ts'
import { markdown, report } from '../../src/report.ts'

const rows = Number(process.argv.slice(2).find(argument => /^\d+$/.test(argument)) ?? 1_000_000)
const most = 150

const server = await startPostgres()
const place = temporaryFolder()
const admin = new pg.Client({ connectionString: server.url })
await admin.connect()
const manager = createManager({ database: server.url, tables: { tenant: ['notes'] } })
await manager.init()
await admin.query(
  `create table notes (tenant_id text not null, id bigint not null, body text not null, amount numeric,
    created_at timestamptz not null, primary key (tenant_id, id))`
)
await manager.protect()
for (const slug of ['acme', 'globex']) {
  const { id } = await manager.create({ slug })
  await admin.query(
    `insert into notes select $1, n, repeat(md5(n::text), 4), n / 7.0, now() + n * interval '1 second'
      from generate_series(1, $2::int) n`,
    [id, rows]
  )
}
await admin.query('analyze notes')
await manager.close()

async function measure (what: string, verb: string, bound?: number): Promise<string[]> {
  const child = fork(join(import.meta.dirname, 'transfer-process.ts'), [
    JSON.stringify({ url: server.url, verb, folder: join(place, 'export') })
  ], { execArgv: [] })
  const [{ seconds, pause, megabytes }] = await once(child, 'message') as [
    { seconds: number; pause: number; megabytes: number }
  ]
  const verdict = bound === undefined ? '' : `under ${bound} MB ${megabytes < bound ? '✓' : '**missed**'}`
  return [what, seconds.toFixed(1), pause > 0 ? pause.toFixed(1) : '', megabytes.toFixed(0), verdict]
}

const lines = [
  await measure('export', 'export', most),
  await measure('import as a schema', 'import'),
  await measure('move to a schema', 'schema')
]
const confirming = createManager({ database: server.url, tables: { tenant: ['notes'] } })
await confirming.confirmMove({ slug: 'acme' })
await confirming.close()
lines.push(await measure('move from there to a database', 'database'))
report(
  'export',
  markdown([`${rows.toLocaleString('en')} rows of 5 columns`, 's', 'of these without service',
    'most memory of the process, MB', 'target'], lines)
)
await admin.end()
await server.stop()
rmSync(place, { recursive: true, force: true })
