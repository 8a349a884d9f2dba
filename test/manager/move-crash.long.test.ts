// A process that dies at any step of a move leaves a state that the same call resumes from, or that
// a rollback removes.
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import t, { type Test } from 'tap'

import { inLifeOf } from '../support/process-death.ts'
import { until } from '../support/until.ts'
import { contents, fill, folder, managerFixture, unique, type ManagerFixture } from './manager-fixture.ts'

const moveSteps = ['plan', 'provision', 'migrate', 'check', 'capture', 'snapshot', 'catch-up', 'lockout',
  'wait', 'replay', 'switch', 'open', 'release']

async function inProcess (
  t: Test,
  { superUrl, admin }: ManagerFixture,
  id: string,
  verb: object,
  dieAt: readonly string[]
): Promise<string | number> {
  const child = fork(join(import.meta.dirname, '../support/transfer-process.ts'), [
    JSON.stringify({ superUrl, id, verb, dieAt })
  ], { execArgv: ['--conditions=@fastify-tenancy/source'], silent: true })
  t.teardown(() => child.kill('SIGKILL'))
  const [code, signal] = await once(child, 'exit') as [number | null, string | null]
  // PostgreSQL notices the death a little later. Then its locks are free.
  await until(async () =>
    (await admin(
      "select from pg_locks where locktype = 'advisory' and database = (select oid from pg_database " +
        'where datname = current_database())'
    )).length === 0
  )
  return signal ?? code ?? -1
}

async function exported (t: Test, { manager }: ManagerFixture, id: string): Promise<Record<string, unknown>> {
  const to = join(folder(t), 'export')
  await manager.export({ id }, { to })
  return contents(to)
}

const traces =
  "select tgname::text from pg_trigger where tgname like 'tenancy_move_%' union all select table_name " +
  'from tenancy.move_changes'

const done = async ({ admin }: ManagerFixture, id: string): Promise<string[]> =>
  (await admin<{ done: string[] }>(
    'select done from tenancy.operations where tenant_id = $1 and finished_at is null',
    [id]
  ))[0]?.done ?? []

t.jobs = 2
// A move into a database, at the steps that differ there.
for (
  const [to, dieAt] of [['schema', moveSteps], ['database', ['provision', 'capture', 'rows of tasks',
    'changes', 'switch']]] as const
) {
  t.test(
    `a move from rls to ${to} and its confirmation resume after a kill at each step`,
    { buffered: true },
    async t => {
      const on = await managerFixture(t)
      const id = unique(on, 'a')
      await on.manager.create({ slug: 'acme', id })
      await fill(on, id)
      let before = await exported(t, on, id)
      for (const step of dieAt) {
        t.equal(await inProcess(t, on, id, { move: { isolation: to } }, [step]), 'SIGKILL', step)
        // The chunks of a step are recorded together with the step.
        t.same(
          await done(on, id),
          moveSteps.slice(
            0,
            moveSteps.indexOf(step) + 1 || moveSteps.indexOf(step === 'changes' ? 'catch-up' : 'snapshot')
          )
        )
        if ((await on.admin('select from tenancy.lockouts')).length === 0 && to === 'schema') {
          // Until a process resumes the move, the tenant is served and another session writes.
          await on.admin(
            'update tasks set title = title || $1 where tenant_id = $2 and id = (select min(id) ' +
              'from tasks where tenant_id = $2)',
            [step, id]
          )
          await on.admin('insert into labels (tenant_id, word) values ($1, $2)', [id, step])
          before = await exported(t, on, id)
        }
        t.equal(
          (await on.manager.get({ id }))?.isolation,
          moveSteps.indexOf(step) < moveSteps.indexOf('switch') ? 'rls' : to,
          'it lives in one place'
        )
      }
      await t.rejects(on.manager.suspend({ id }), {
        code: 'FST_TENANCY_TENANT_CONFLICT',
        message: /a move of this tenant is not finished/
      })
      t.match(await on.manager.move({ id }, { isolation: to }), { isolation: to, status: 'active' })
      t.same(await exported(t, on, id), before)
      t.same(await on.admin(traces), [])
      t.equal(await inProcess(t, on, id, { confirm: true }, ['data']), 'SIGKILL')
      t.same(await done(on, id), ['wait', 'release', 'data'])
      await on.manager.confirmMove({ id })
      t.same(await on.admin('select count(*)::int as rows from tasks where tenant_id = $1', [id]), [{
        rows: 0
      }])
      t.same(await exported(t, on, id), before)
      t.same(
        await on.admin('select action from tenancy.audit where tenant_id = $1 order by id', [id]),
        ['create', 'move', 'move-confirm'].map(action => ({ action })),
        'each is in the audit once'
      )
    }
  )
}

t.test(
  'an abandoned move is rolled back, and its copy is removed',
  { buffered: true },
  async t => {
    const on = await managerFixture(t)
    const id = unique(on, 'a')
    await on.manager.create({ slug: 'acme', id })
    await fill(on, id)
    const before = await exported(t, on, id)
    for (
      const [isolation, other, step] of [['schema', 'database', 'replay'], ['database', 'schema', 'lockout'],
        [
          'schema',
          'database',
          'capture'
        ], ['database', 'schema', 'catch-up']] as const
    ) {
      t.equal(await inProcess(t, on, id, { move: { isolation } }, [step]), 'SIGKILL', `${isolation}: ${step}`)
      await t.rejects(on.manager.move({ id }, { isolation: other }), {
        code: 'FST_TENANCY_TENANT_CONFLICT',
        message: /to another target/
      })
      t.match(await on.manager.cancelMove({ id }), { isolation: 'rls', status: 'active' })
      t.same(await on.admin(`select 'a lockout' from tenancy.lockouts union all ${traces}`), [])
      t.same(
        await on.admin(
          "select from pg_namespace where nspname like 'tenant_%' union all select from pg_database " +
            "where datname = $1 union all select from pg_roles where rolname like $1 || '%'",
          [`tenant_${id}`]
        ),
        []
      )
      t.same(await exported(t, on, id), before)
    }
    await t.rejects(on.manager.cancelMove({ id }), { code: 'FST_TENANCY_TENANT_CONFLICT' })
  }
)

t.test(
  'a move that died before it recorded its target can be rolled back',
  { buffered: true },
  async t => {
    const on = await managerFixture(t)
    const id = unique(on, 'a')
    await on.manager.create({ slug: 'acme', id, isolation: 'schema' })
    await on.admin(`insert into "tenant_${id}".labels (word) values ('mine')`)
    await on.admin("insert into tenancy.operations (tenant_id, kind) values ($1, 'move')", [id])
    await t.rejects(on.manager.move({ id }, { isolation: 'schema' }), {
      code: 'FST_TENANCY_TENANT_CONFLICT',
      message: /there already/
    })
    t.same(await on.admin(`select word from "tenant_${id}".labels`), [{ word: 'mine' }])
    t.match(await on.manager.cancelMove({ id }), { isolation: 'schema', status: 'active' })
    t.equal((await on.manager.suspend({ id })).status, 'suspended', 'control: nothing is left unfinished')
    await on.admin("insert into tenancy.operations (tenant_id, kind) values ($1, 'move')", [id])
    t.match(
      await on.manager.move({ id }, { isolation: 'rls' }),
      { isolation: 'rls' },
      'the same call takes it up'
    )
  }
)

/** Retries while PostgreSQL has not yet noticed that the process that held the lock is dead. */
const patiently = async (work: () => Promise<unknown>): Promise<void> => {
  await until(() =>
    work().then(() => true, (error: Error) => {
      if (error.message.includes('at this moment')) return false
      throw error
    }), 20_000)
}

t.test(
  'LIF-01 a move that dies before any statement can be resumed or rolled back',
  { buffered: true },
  async t => {
    const on = await managerFixture(t)
    const id = unique(on, 'a')
    await on.manager.create({ slug: 'acme', id })
    await fill(on, id)
    const rows = (schema: string, mine = ''): Promise<object[]> =>
      on.admin(
        `select title as text from ${schema}.tasks${mine} union all select word ` +
          `from ${schema}.labels${mine} order by 1`
      )
    const [shared, own] = [() => rows('public', ` where tenant_id = '${id}'`), () => rows(`"tenant_${id}"`)]
    const served = async (): Promise<boolean> =>
      (await on.manager.get({ id }))?.isolation === 'rls' &&
      (await on.admin("select from tenancy.lockouts where placement = 'shared'")).length === 0
    let lives = 0
    for (let statements = 3;; statements += 7) {
      const isDead = await inLifeOf(statements, async () => {
        const mortal = on.another()
        await mortal.move({ id }, { isolation: 'schema' })
        await mortal.close()
      })
      lives++
      if (await served()) {
        await on.admin(
          'update tasks set title = $2 || title where tenant_id = $1 and id = (select min(id) ' +
            'from tasks where tenant_id = $1)',
          [id, `${statements} `]
        )
        await on.admin('insert into labels (tenant_id, word) values ($1, $2)', [id, `life ${lives}`])
      }
      const expected = await shared()
      const [operation] = await on.admin<{ kind: string }>(
        'select kind from tenancy.operations where finished_at is null'
      )
      const isSwitched = (await on.manager.get({ id }))?.isolation === 'schema'
      if (operation !== undefined && lives % 3 === 0 && !isSwitched) {
        await patiently(() => on.manager.cancelMove({ id }))
        t.same(
          await on.admin(
            `select 'a lockout' from tenancy.lockouts where placement = 'shared' union all ${traces}`
          ),
          [],
          `${statements}: taken back`
        )
        t.same(await shared(), expected)
        continue
      }
      if (operation !== undefined || !isSwitched)
        await patiently(() => on.manager.move({ id }, { isolation: 'schema' }))
      t.same(await own(), expected, `${statements}: nothing is lost, nothing is there twice`)
      t.same(await on.admin(traces), [])
      await on.manager.confirmMove({ id })
      await on.manager.move({ id }, { isolation: 'rls' })
      await on.manager.confirmMove({ id })
      t.same(await shared(), expected)
      if (!isDead) break
    }
    t.ok(lives > 12, `control: it died ${lives - 1} times`)
  }
)
