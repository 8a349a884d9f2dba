// The process dies before each statement that a create, a deletion and a purge send: within a step,
// between a step and its record, and with the lock held. The next process resumes.
import { unreadyDatabase } from '@fastify-tenancy/core/keys'
import type { Manager } from '@fastify-tenancy/manager'
import t from 'tap'

import { isLong } from '../support/long.ts'
import { inLifeOf } from '../support/process-death.ts'
import { until } from '../support/until.ts'
import { idFor, lifecycleSteps, lifecycleFixture, type LifecycleFixture } from './lifecycle-fixture.ts'

/**
 * Step width over the statements: the daily run tries one in 36, at another offset for each
 * strategy. `npm run test:long` tries all.
 */
const stride = isLong ? 1 : 36

/**
 * Calls `work` with managers that die after 0, 1, 2 … statements, until one completes.
 * @returns the number of statements
 */
async function inShortLives (
  world: LifecycleFixture,
  first: number,
  work: (mortal: Manager) => Promise<unknown>,
  afterDeath: () => Promise<void>
): Promise<number> {
  for (let statements = first % stride;; statements += stride) {
    const isDead = await inLifeOf(statements, async () => {
      const mortal = world.another(lifecycleSteps)
      await work(mortal)
      await mortal.close()
    })
    if (!isDead) return statements
    await afterDeath()
  }
}

/** Retries while PostgreSQL has not yet noticed that the process that held the lock is dead. */
async function patiently<T> (work: () => Promise<T>): Promise<T> {
  const { value } = await until(() =>
    work().then(value => ({ value }), (error: Error) => {
      if (error.message.includes('at this moment')) return undefined
      throw error
    })
  )
  return value
}

/** Everything on the server that names the tenant. */
async function traces ({ admin }: LifecycleFixture, id: string): Promise<string[]> {
  const found = await admin<{ name: string }>(
    `
    select rolname as name from pg_roles where position($1 in rolname) > 0 union all select nspname
      from pg_namespace where position($1 in nspname) > 0
    union all select datname from pg_database where position($1 in datname) > 0 or datname = $2 union all
      select id from (select tenant_id as id from projects) p where id = $1`,
    [id, unreadyDatabase(`tenant_${id}`)]
  )
  return found.map(({ name }) => name)
}

t.jobs = 3
for (const [index, strategy] of (['rls', 'schema', 'database'] as const).entries()) {
  t.test(
    `LIF-01 LIF-07 ${strategy}: a process that dies before any statement leaves resumable work`,
    { buffered: true },
    async t => {
      const world = await lifecycleFixture(t, strategy)
      const { admin } = world
      const manager = world.another(lifecycleSteps)
      const database = await world.open()
      const status = async (id: string): Promise<string> =>
        (await admin<{ status: string }>('select status from tenancy.tenants where id = $1', [id]))[0]
          ?.status ?? 'none'
      let count = 0
      let one = { id: '', slug: '' }
      const next = (): { id: string; slug: string } => {
        count++
        one = { id: idFor(world, `n${count}`), slug: `slug-${count}` }
        return one
      }

      const created = await inShortLives(world, index, mortal => mortal.create(next()), async () => {
        t.match(await status(one.id), /^(?:none|provisioning|active)$/)
        if (count % 2 === 0) {
          // No process resumes the create, so a deletion and a purge clean up.
          if (await status(one.id) === 'none') return
          await patiently(() => manager.delete({ id: one.id }, { grace: '0s' }))
          t.match(await manager.purgeDue(), {
            purged: [{ tenant: { id: one.id, status: 'deleted' } }],
            failed: { length: 0 }
          })
          t.same(await traces(world, one.id), [])
          return
        }
        const tenant = await patiently(() => manager.create(one)).catch((error: { code: string }) => {
          t.equal(
            error.code,
            'FST_TENANCY_TENANT_CONFLICT',
            'it had come to its end: only the answer was lost'
          )
          return manager.get({ id: one.id })
        })
        t.equal(tenant?.status, 'active')
        if (tenant !== undefined)
          t.same(await world.handle(database, tenant).selectFrom('projects').select('id').execute(), [{
            id: 7
          }])
      })
      t.ok(created > 15, `control: a create sends ${created} statements`)

      const deleted = await inShortLives(
        world,
        index,
        mortal => mortal.delete({ id: one.id }, { grace: '0s' }),
        async () => {
          await patiently(() => manager.delete({ id: one.id }, { grace: '0s' }))
          t.equal(await status(one.id), 'deleting')
          await patiently(() => manager.resume({ id: one.id }))
          t.equal(await status(one.id), 'active')
        }
      )
      t.ok(deleted > 5, `control: a deletion sends ${deleted} statements`)

      const purged = await inShortLives(world, index, mortal => mortal.purge({ id: one.id }), async () => {
        t.match(await status(one.id), /^(?:deleting|deleted)$/)
        t.equal((await patiently(() => manager.purge({ id: one.id }))).tenant.status, 'deleted')
        await manager.create(next())
        await manager.delete({ id: one.id }, { grace: '0s' })
      })
      t.ok(purged > 20, `control: a purge sends ${purged} statements`)
      t.same(await admin('select id from tenancy.operations where finished_at is null'), [])
    }
  )
}
