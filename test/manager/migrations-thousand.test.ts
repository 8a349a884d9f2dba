import t from 'tap'

import { isLong } from '../support/long.ts'
import { failure, migrations } from '../support/migrations.ts'

const notes = 'await sql`create table notes (id serial primary key, body text)`.execute(db)'

// The daily run fails at the 37th of 80 tenants.
const [failing, all] = isLong ? [437, 1_000] : [37, 80]
const id = (n: number): string => `t${String(n).padStart(4, '0')}`
const [bad, last] = [id(failing), id(failing - 1)]

t.test('MIG-01 a failure at 437 of 1000 leaves 436 done, and the next run resumes there', async t => {
  const { manager, write, schemas, admin } = await migrations(t)
  await schemas(all)
  write('tenant', '001_notes', notes)
  await admin(`create table tenant_${bad}.notes ()`)
  t.match(await failure(manager.migrate({ jobs: 1 })), {
    code: 'FST_TENANCY_MIGRATION_FAILED',
    message:
      `migration '001_notes' of tenant s${bad} failed: relation "notes" already exists; of the others, ${
        all - failing
      } were not begun`,
    report: {
      tenants: { migrated: failing - 1, current: 0, failed: 1, left: all - failing },
      failures: [{ tenant: bad, migration: '001_notes', shard: 'default' }]
    }
  })
  const done = 'select count(*)::int as n, max(tenant_id) as last from tenancy.migration_ledger ' +
    'where applied_at is not null'
  t.same(await admin(done), [{ n: failing - 1, last }])
  t.match((await manager.status()).tenants.find(tenant => tenant.id === bad), {
    isBehind: true,
    failure: { migration: '001_notes', error: /already exists/ }
  })
  const before = await admin(
    'select tenant_id, applied_at from tenancy.migration_ledger where applied_at is not null order by 1'
  )
  await admin(`drop table tenant_${bad}.notes`)
  t.match(await manager.migrate({ jobs: 4 }), {
    tenants: { migrated: all - failing + 1, current: failing - 1, failed: 0, left: 0 }
  })
  t.same(
    await admin(
      'select tenant_id, applied_at from tenancy.migration_ledger where tenant_id <= $1 order by 1',
      [last]
    ),
    before,
    'who was done was not touched'
  )
  t.same(await admin(done), [{ n: all, last: id(all) }])
  t.same(await admin("select count(*)::int as n from pg_tables where tablename = 'notes'"), [{ n: all }])
  const start = performance.now()
  t.match(await manager.migrate({ jobs: 4 }), { tenants: { migrated: 0, current: all } })
  t.comment(`nothing to do took ${Math.round(performance.now() - start)} ms`)
})
