import { fork } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import t, { type Test } from 'tap'

import { ask } from '../support/sql.ts'
import { managerFixture, fixtureOptions, unique, type ManagerFixture } from './manager-fixture.ts'

const build = (isShared: boolean): string =>
  `create table projects (${isShared ? 'tenant_id text not null, ' : ''}id int not null, primary key (${
    isShared ? 'tenant_id, ' : ''
  }id))`
const given = { build, tables: { tenant: ['projects'], shared: ['countries'] } }

interface Sleeper {
  stop(): void
  /** Resumes the stopped process, which then writes as the tenant that it has in memory. */
  write(): Promise<{ code: string; asked: boolean }>
}

async function startSleeper (t: Test, { superUrl }: ManagerFixture): Promise<Sleeper> {
  const { provision: _, ...options } = fixtureOptions(superUrl, given)
  const child = fork(join(import.meta.dirname, '../support/sleeper.ts'), [
    JSON.stringify({ ...options, registryUrl: superUrl })
  ], { execArgv: ['--conditions=@fastify-tenancy/source'] })
  t.teardown(() => child.kill('SIGKILL'))
  await once(child, 'message')
  return {
    stop () {
      child.kill('SIGSTOP')
    },
    async write () {
      child.send({ write: 'acme' })
      child.kill('SIGCONT')
      const [answer] = await once(child, 'message') as [{ code: string; asked: boolean }]
      return answer
    }
  }
}

t.jobs = 2
for (const [from, to] of [['rls', 'schema'], ['schema', 'database'], ['database', 'row']] as const) {
  t.test(
    `FNC-01 a process asleep during a move from ${from} to ${to} writes nothing to the old copy`,
    { buffered: true },
    async t => {
      const on = await managerFixture(t, given)
      const id = unique(on, 'a')
      const tenantUrl = on.superUrl.replace(/\/[^/]*$/, `/tenant_${id}`)
      const count = async (home: string): Promise<number | undefined> =>
        (await ask<{ count: number }>(
          home === 'database' ? tenantUrl : on.superUrl,
          `select count(*)::int from ${home === 'schema' ? `"tenant_${id}".` : ''}projects`
        ))[0]?.count
      await on.manager.create({ slug: 'acme', id, isolation: from })
      const [first, second] = [await startSleeper(t, on), await startSleeper(t, on)]
      for (const { write } of [first, second]) {
        t.match(await write(), { code: 'written', asked: true })
        t.match(await write(), { code: 'written', asked: false }, 'control: it does not ask again')
      }
      first.stop()
      second.stop()
      await on.manager.move({ id }, { isolation: to })
      t.match(await first.write(), { code: 'FST_TENANCY_TENANT_NOT_READY' })
      t.equal(await count(from), 4, 'the old copy is as it was')
      t.match(await first.write(), { code: 'written', asked: true }, 'what it remembered is doubted')
      t.equal(await count(to), 5)
      await on.manager.confirmMove({ id })
      t.match(
        await second.write(),
        { code: /^FST_TENANCY_(TENANT_NOT_READY|DATABASE_UNAVAILABLE)$/ },
        'also when the old copy is gone'
      )
      t.match(await second.write(), { code: 'written', asked: true })
      t.equal(await count(to), 6)
    }
  )
}

t.test('control: without the lockout, the process writes into the old copy', { buffered: true }, async t => {
  const on = await managerFixture(t, given)
  const id = unique(on, 'a')
  await on.manager.create({ slug: 'acme', id })
  const sleeper = await startSleeper(t, on)
  await sleeper.write()
  sleeper.stop()
  await on.manager.move({ id }, { isolation: 'schema' })
  await on.admin('delete from tenancy.lockouts')
  t.match(await sleeper.write(), { code: 'written', asked: false })
  t.same(await on.admin('select count(*)::int from projects'), [{ count: 2 }])
})
