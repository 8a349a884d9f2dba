// A process that dies at any step of a create, a delete or a purge leaves a state that the same
// call resumes from.
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import t from 'tap'

import { serverUrl } from '../support/fresh.ts'
import { until } from '../support/until.ts'
import { idFor, lifecycleSteps, lifecycleFixture, type LifecycleStrategy,
  type LifecycleFixture } from './lifecycle-fixture.ts'

const cache = t.testdir()
const createSteps = ['provision', 'migrate', 'user:bucket', 'seed', 'activate']
const deleteSteps = ['lockout', 'mark']
const purgeSteps = ['lockout', 'wait', 'count', 'user:bucket', 'data', 'old copy', 'ledgers', 'global rows',
  'role', 'redis', 'verify', 'registry']

/** Runs one call in a process of its own, until it ends or has killed itself. */
async function inProcess (
  { superUrl }: Pick<LifecycleFixture, 'superUrl'>,
  strategy: LifecycleStrategy,
  verb: 'create' | 'delete' | 'purge' | 'nothing',
  id: string,
  steps: readonly string[]
): Promise<string | number> {
  const child = fork(join(import.meta.dirname, '../support/life-process.ts'), [
    JSON.stringify({ superUrl, strategy, verb, id, steps })
  ], {
    execArgv: ['--conditions=@fastify-tenancy/source'],
    env: { NODE_COMPILE_CACHE: cache, ...process.env },
    silent: true
  })
  const [code, signal] = await once(child, 'exit') as [number | null, string | null]
  return signal ?? code ?? -1
}

// Loading modules is half of a process' cost, and a killed process does not write its compile
// cache. So one process writes it first.
t.equal(await inProcess({ superUrl: serverUrl() }, 'rls', 'nothing', '', []), 0)

t.jobs = 3
for (const strategy of ['rls', 'schema', 'database'] as const) {
  t.test(
    `LIF-01 LIF-07 ${strategy}: create, delete and purge resume after a kill at any step`,
    { buffered: true },
    async t => {
      const world = await lifecycleFixture(t, strategy)
      const { admin } = world
      const id = idFor(world, 'a')
      const done = async (): Promise<string[]> =>
        (await admin<{ done: string[] }>(
          'select done from tenancy.operations where tenant_id = $1 and finished_at is null',
          [id]
        ))[0]?.done ?? []
      const status = async (): Promise<string | undefined> =>
        (await admin<{ status: string }>('select status from tenancy.tenants where id = $1', [id]))[0]?.status
      const isFree = async (): Promise<boolean> =>
        (await admin(
          "select from pg_locks where locktype = 'advisory' and database = (select oid from pg_database " +
            'where datname = current_database())'
        )).length === 0
      // Each process resumes where the previous one died, and dies one step later.
      const dieAtEach = async (
        verb: 'create' | 'delete' | 'purge',
        steps: readonly string[],
        statusAt: (step: string) => string
      ): Promise<void> => {
        for (const [index, step] of steps.entries()) {
          t.equal(await inProcess(world, strategy, verb, id, steps), 'SIGKILL', `${verb}: ${step}`)
          t.same(await done(), steps.slice(0, index + 1))
          t.equal(await status(), statusAt(step))
          await until(isFree)
        }
      }
      await dieAtEach('create', createSteps, step => step === 'activate' ? 'active' : 'provisioning')
      const manager = world.another(lifecycleSteps)
      t.equal((await manager.create({ id, slug: 'acme' })).status, 'active')
      t.same(await done(), [])
      await t.rejects(manager.create({ slug: 'acme' }), { code: 'FST_TENANCY_TENANT_CONFLICT' })
      await world.fill((await manager.get({ id }))!)
      await dieAtEach('delete', deleteSteps, step => step === 'lockout' ? 'active' : 'deleting')
      const db = world.handle(await world.open(), (await manager.get({ id }))!)
      await t.rejects(db.selectFrom('projects').selectAll().execute(), {
        code: strategy === 'database' ? 'FST_TENANCY_TENANT_NOT_READY' : 'FST_TENANCY_TENANT_UNKNOWN'
      })
      await dieAtEach('purge', purgeSteps, step => step === 'registry' ? 'deleted' : 'deleting')
      t.match(await manager.purge({ id }), { tenant: { status: 'deleted' }, rows: { projects: 3, tasks: 2 } })
      t.same(await done(), [])
      t.same(
        await admin('select action from tenancy.audit where tenant_id = $1 order by id', [id]),
        ['create', 'delete', 'purge'].map(action => ({ action })),
        'each is in the audit once'
      )
    }
  )
}
