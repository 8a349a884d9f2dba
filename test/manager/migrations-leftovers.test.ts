// What a migration of one tenant leaves in its session does not reach the next tenant's migration.
import { sql, type Kysely } from 'kysely'
import t from 'tap'

import { migrations } from '../support/migrations.ts'

const run = (...texts: readonly string[]) => async (db: Kysely<unknown>): Promise<void> => {
  for (const text of texts) await sql.raw(text).execute(db)
}

const leaves = {
  'a prepared statement': ['prepare add as insert into notes values (1)', 'execute add'],
  'a cursor': ['declare c cursor with hold for select n from notes', 'insert into notes values (1)'],
  'a temporary table': ['create temp table work (n int)', 'insert into work values (1)',
    'insert into notes select n from work']
}

for (const [what, texts] of Object.entries(leaves)) {
  t.test(`DAT-05 ${what} that a migration leaves does not reach the next tenant's`, async t => {
    const { schemas, another, admin } = await migrations(t)
    await schemas(3)
    const set = {
      getMigrations: async () => ({
        '001_looks': {
          up: run(
            "create table seen as select count(*)::int as cursors from pg_cursors where name = 'c'",
            'create table notes (n int)'
          )
        },
        '002_leaves': { up: run(...texts) }
      })
    }
    const report = await another({ migrations: { tenant: set } }).migrate({ jobs: 1 })
    t.match(report.tenants, { migrated: 3, failed: 0 })
    for (const n of [1, 2, 3]) {
      t.same(await admin(`select n from tenant_t000${n}.notes`), [{ n: 1 }], 'its own row')
      t.same(await admin(`select * from tenant_t000${n}.seen`), [{ cursors: 0 }])
    }
  })
}
