// Issue 6: 1,000 schemas of 10 tables at a round trip of 1 ms: the time of eight workers against
// one worker, and a run with nothing to do. `-- 100` for fewer.
import { createManager, type Manager } from '@fastify-tenancy/manager'
import type { Migration } from 'kysely/migration'
import pg from 'pg'

import { startPostgres } from '../../../../test/support/services.ts'
import { far } from '../../src/far.ts'
import { quantile } from '../../src/race.ts'
import { markdown, report } from '../../src/report.ts'

const schemas = Number(process.argv.slice(2).find(argument => /^\d+$/.test(argument)) ?? 1_000)
const tables = Array.from({ length: 10 }, (_, index) => `table_${index}`)
const rounds = 3

const server = await startPostgres('-c', 'max_locks_per_transaction=1024')
const distant = await far(server.url)
const admin = new pg.Client({ connectionString: server.url })
await admin.connect()

const migrations: Record<string, Migration> = {}
const migration = { tenant: { getMigrations: async () => migrations } }
const near = createManager({ database: server.url, isolation: 'schema', migrations: migration })
const remote = createManager({ database: distant.url, isolation: 'schema', migrations: migration })
await near.init()

async function makeSchemas (): Promise<void> {
  await admin.query(`
    insert into tenancy.tenants (id, slug, name, status, plan, isolation, shard, schema_name)
    select id, 's' || id, id, 'active', 'free', 'schema', 'default', 'tenant_' || id
      from (select 't' || lpad(n::text, 5, '0') as id from generate_series(1, ${schemas}) n) ids`)
  await admin.query(`
    do $$ declare row record; begin
      for row in select id, schema_name as name from tenancy.tenants loop
        execute format('create schema %1$I authorization %2$I; comment on schema %1$I is %3$L',
          row.name, (select pg_get_userbyid(nspowner) from pg_namespace where nspname = 'tenancy'),
          'fastify-tenancy: tenant ' || row.id);
      end loop;
    end $$`)
}

async function seconds (manager: Manager, jobs: number): Promise<number> {
  const start = performance.now()
  await manager.migrate({ jobs })
  return (performance.now() - start) / 1_000
}

let version = 1_000
/** Adds a column to each table, by Kysely's builder. */
function addColumns (): void {
  const column = `c${++version}`
  migrations[String(version)] = {
    up: async db => {
      for (const table of tables) await db.schema.alterTable(table).addColumn(column, 'text').execute()
    }
  }
}

await makeSchemas()
migrations[String(version)] = {
  async up (db) {
    for (const table of tables)
      await db.schema.createTable(table).addColumn('id', 'serial', column => column.primaryKey()).addColumn(
        'body',
        'text'
      ).execute()
  }
}
const creating = await seconds(near, 8)
await admin.query('analyze')

const taken: Record<'one' | 'eight' | 'idle', number[]> = { one: [], eight: [], idle: [] }
for (let round = 0; round < rounds; round++) {
  addColumns()
  taken.one.push(await seconds(remote, 1))
  addColumns()
  taken.eight.push(await seconds(remote, 8))
  taken.idle.push(await seconds(remote, 8))
}
const [one, eight, idle] = [taken.one, taken.eight, taken.idle].map(values =>
  quantile(values.toSorted((a, b) => a - b), 0.5)
) as [number, number, number]
const ratio = quantile(
  taken.eight.map((value, index) => value / (taken.one[index] ?? Number.NaN)).toSorted((a, b) => a - b),
  0.5
)
const perSchema = (value: number): string => (value / schemas * 1_000).toFixed(2)
report(
  'migrations',
  `${
    markdown(['', 'seconds', 'ms a schema', 'target'], [
      ['a column for each of 10 tables, one worker', one.toFixed(2), perSchema(one), ''],
      ['the same, 8 workers', eight.toFixed(2), perSchema(eight),
        `${ratio.toFixed(2)} of one worker's, at most 0.35: ${ratio <= 0.35 ? '✓' : '**missed**'}`],
      ['nothing to do', idle.toFixed(2), perSchema(idle), `at most 2 s: ${idle <= 2 ? '✓' : '**missed**'}`],
      ['10 tables made, 8 workers, loopback', creating.toFixed(2), perSchema(creating), '']
    ])
  }\n\n${schemas} schemas, medians of ${rounds} runs by turns, at a round trip of 1 ms.`
)

await near.close()
await remote.close()
await admin.end()
distant.stop()
await server.stop()
process.exit()
