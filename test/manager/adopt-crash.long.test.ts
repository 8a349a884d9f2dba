// `prepare` on a database in use. A run that is killed at any point is completed by the same call.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import t from 'tap'

import { connect, loginOf } from '../support/sql.ts'
import { until } from '../support/until.ts'
import { backfill, none, old, prepared, shape, tables, work, wrong } from './legacy-fixture.ts'

t.test('a prepare that is killed at every step in turn is completed by the same call', async t => {
  const done: string[] = []
  const { admin, legacy, manager } = await old(t, {
    progress: ({ step }) => {
      if (done.includes(step)) return
      done.push(step)
      throw new Error('cut off')
    }
  })
  const code = await work(legacy)
  for (;;) {
    const end = await manager.protect({ stage: 'prepare' }).then(
      () => 'done',
      (error: Error) => error.message
    )
    if (end === 'done') break
    t.equal(end, 'cut off', done.at(-1) ?? '')
  }
  t.same((await code.stop()).errors, [])
  const steps = ['add column', 'fill new rows', 'backfill', 'all rows have a tenant', 'add check',
    'validate check', 'set not null', 'create index']
  for (const table of ['projects', 'tasks', 'events', 'settings'])
    for (const step of steps) t.ok(done.includes(`${table}: ${step}`), `${table}: ${step}`)
  t.same((await admin.query(shape)).rows, prepared)
  t.same((await admin.query(wrong)).rows, [none])
})

t.test('a killed prepare is completed by the same call, without waiting for its lock', async t => {
  const { url, admin, legacy } = await old(t)
  const code = await work(legacy)
  const options = JSON.stringify({
    database: { url, ownerUrl: url },
    tables,
    adoption: { backfill, legacy: { [loginOf(legacy).user]: '2999-12-31' } }
  })
  const run = async (step: string): Promise<unknown> => {
    const child = spawn(process.execPath, [...process.execArgv,
      fileURLToPath(new URL('adopt-process.ts', import.meta.url)), options, step], { stdio: 'inherit' })
    t.teardown(() => child.kill('SIGKILL'))
    const [status, signal] = await once(child, 'exit')
    return signal ?? status
  }
  for (const step of ['tasks: backfill', 'tasks: add check', 'events: create index'])
    t.equal(await run(step), 'SIGKILL', step)
  t.equal(await run('none'), 0)
  t.same((await code.stop()).errors, [])
  t.same((await admin.query(shape)).rows, prepared)
  t.same((await admin.query(wrong)).rows, [none])
})

t.test('an index whose building was cut short is built again', async t => {
  const { admin, legacy, manager } = await old(t)
  await manager.protect({ stage: 'prepare', only: ['projects'] })
  await admin.query('drop index projects_tenant_id_idx')
  const reader = await connect(t, legacy)
  await reader.query("begin; insert into projects (user_id, name) values (1, 'held')")
  const builder = await connect(t, legacy)
  const { rows: [{ pid }] } = await builder.query('select pg_backend_pid() as pid')
  const cut = t.rejects(
    builder.query('create index concurrently projects_tenant_id_idx on projects (tenant_id)'),
    { code: '57014' }
  )
  await until(async () => (await admin.query('select from pg_index where not indisvalid')).rows.length === 1)
  await admin.query('select pg_cancel_backend($1)', [pid])
  await cut
  await reader.query('commit')
  await manager.protect({ stage: 'prepare' })
  t.same(
    (await admin.query(
      'select indexrelid::regclass::text as name, indisvalid as valid from pg_index ' +
        "where indrelid = 'projects'::regclass and not indisprimary"
    )).rows,
    [{ name: 'projects_tenant_id_idx', valid: true }]
  )
})
