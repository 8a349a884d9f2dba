// A tenant of 2,000,000 rows among 1,000 tenants of 100 rows in one protected table, against the
// same statements of a small tenant.
import { memoryRegistry, toTenant } from '@fastify-tenancy/core'
import { openDatabase } from '@fastify-tenancy/database'
import { resolveDatabaseOptions } from '@fastify-tenancy/database/options'
import { createManager } from '@fastify-tenancy/manager'
import type { Generated, Kysely } from 'kysely'
import { rmSync } from 'node:fs'
import { join } from 'node:path'

import { temporaryFolder } from '../../../../test/support/services.ts'
import { count, repeated, scaleServer, scopeOf, timed, type PartTable } from './part.ts'

interface Tables {
  notes: { id: Generated<number>; body: string }
}

const tables = { tenant: ['notes'] }

export async function rows (isShort: boolean): Promise<PartTable> {
  const many = isShort ? 20_000 : 2_000_000
  const server = await scaleServer()
  const manager = createManager({ database: { url: server.appUrl, ownerUrl: server.url }, tables })
  await manager.init()
  await server.admin.query(
    `create table notes (tenant_id text not null, id bigserial, body text not null,
      created_at timestamptz not null default now(), primary key (tenant_id, id))`
  )
  await manager.protect()
  for (const slug of ['large', 'small']) await manager.create({ slug, id: `id-${slug}` })
  await server.admin.query(
    `insert into notes (tenant_id, id, body) select tenant, n, repeat(md5(n::text), 3)
      from (select 'id-large', $1::int union all select 'id-small', 100
        union all select 'other-' || t, 100 from generate_series(1, 1000) t) each (tenant, most),
        generate_series(1, most) n`,
    [many]
  )
  await server.admin.query("select setval('notes_id_seq', $1::int)", [many])
  await server.admin.query('vacuum analyze notes')
  const database = openDatabase(
    resolveDatabaseOptions({ database: { url: server.appUrl }, tables, registry: memoryRegistry([]) })
  )
  await database.boot()
  const lines: string[][] = []
  for (const slug of ['small', 'large']) {
    const scope = scopeOf(toTenant({ id: `id-${slug}`, slug }))
    const db = database.forScope(scope) as unknown as Kysely<Tables>
    const most = slug === 'large' ? many : 100
    const one = await repeated(
      500,
      () => db.selectFrom('notes').selectAll().where('id', '=', at(most)).executeTakeFirstOrThrow()
    )
    const page = await repeated(
      500,
      () =>
        db.selectFrom('notes').selectAll().where('id', '>', at(most - 20)).orderBy('id').limit(20).execute()
    )
    const inserted = await repeated(500, () => db.insertInto('notes').values({ body: 'new' }).execute())
    const counted = await repeated(
      3,
      () => db.selectFrom('notes').select(({ fn }) => fn.countAll().as('count')).executeTakeFirstOrThrow()
    )
    scope.end()
    lines.push([`${slug}: ${count(most)} rows`, ...[one, page, inserted].map(({ p50 }) => p50.toFixed(2)),
      counted.p50.toFixed(1)])
  }
  await database.close()
  const folder = temporaryFolder()
  const exported = await timed(() => manager.export({ slug: 'large' }, { to: join(folder, 'export') }))
  rmSync(folder, { recursive: true })
  const removed = await timed(() => server.admin.query("delete from notes where tenant_id = 'id-large'"))
  lines.push(['export of the large tenant', `${(exported / 1_000).toFixed(1)} s`, '', '', ''])
  lines.push(['its rows deleted with one statement', `${(removed / 1_000).toFixed(1)} s`, '', '', ''])
  await manager.close()
  await server.stop()
  return {
    title: `a tenant of ${count(many)} rows among 1,000 of 100 rows; medians in ms`,
    head: ['', 'one row', 'a page of 20', 'insert', 'count of all'],
    rows: lines
  }
}

/** Returns a random id from 1 to `most`. */
function at (most: number): number {
  return 1 + Math.floor(Math.random() * most)
}
