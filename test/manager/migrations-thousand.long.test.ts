import t from 'tap'

import { failure, migrations } from '../support/migrations.ts'

const notes = 'await sql`create table notes (id serial primary key, body text)`.execute(db)'

t.test('MIG-01 a failure at 437 of 1000 leaves 436 done, is reported, and the next run goes on from there only', async t => {
  const { manager, write, schemas, admin } = await migrations(t)
  await schemas(1_000)
  write('tenant', '001_notes', notes)
  await admin('create table tenant_t0437.notes ()')
  t.match(await failure(manager.migrate({ jobs: 1 })), {
    code: 'FST_TENANCY_MIGRATION_FAILED',
    message: /^migration '001_notes' of tenant t0437 failed: relation "notes" already exists; of the others 563 were not begun$/,
    report: { tenants: { migrated: 436, current: 0, failed: 1, left: 563 }, failures: [{ tenant: 't0437', migration: '001_notes', shard: 'default' }] }
  })
  const done = 'select count(*)::int as n, max(tenant_id) as last from tenancy.migration_ledger where applied_at is not null'
  t.same(await admin(done), [{ n: 436, last: 't0436' }])
  t.match((await manager.status()).tenants.find(({ id }) => id === 't0437'), { isBehind: true, failure: { migration: '001_notes', error: /already exists/ } })
  const before = await admin('select tenant_id, applied_at from tenancy.migration_ledger where applied_at is not null order by 1')
  await admin('drop table tenant_t0437.notes')
  t.match(await manager.migrate({ jobs: 4 }), { tenants: { migrated: 564, current: 436, failed: 0, left: 0 } })
  t.same(await admin('select tenant_id, applied_at from tenancy.migration_ledger where tenant_id <= \'t0436\' order by 1'), before, 'who was done was not touched')
  t.same(await admin(done), [{ n: 1_000, last: 't1000' }])
  t.same(await admin('select count(*)::int as n from pg_tables where tablename = \'notes\''), [{ n: 1_000 }])
  const start = performance.now()
  t.match(await manager.migrate({ jobs: 4 }), { tenants: { migrated: 0, current: 1_000 } })
  t.comment(`nothing to do took ${Math.round(performance.now() - start)} ms`)
})
