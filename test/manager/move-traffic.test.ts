// Writes a tenant during its move at known points: before, within and after the copy, and just
// before the lockout.
import type { MoveInput } from '@fastify-tenancy/manager'
import t from 'tap'

import { isLong } from '../support/long.ts'
import { ask } from '../support/sql.ts'
import { items, once } from './small-tenant-fixture.ts'
import { movingTenant, rows, traces } from './moving-tenant-fixture.ts'
import { change, fill } from './change-workload.ts'

const served = ['capture', 'rows of posts', 'snapshot', 'catch-up']

const ways: readonly [MoveInput, string, string?][] = [
  [{ isolation: 'schema' }, 'schema'],
  [{ isolation: 'database' }, 'database'],
  [{ isolation: 'rls', shard: 'eu' }, 'rls', 'eu'],
  [{ shard: 'default' }, 'rls', 'default']
]

t.test(
  'a tenant written in every way loses and duplicates nothing in any move',
  { buffered: true },
  async t => {
    const { on, id, place, move } = await movingTenant(t, isLong ? ['eu'] : [])
    await on.manager.create({ slug: 'globex', id: 'globex-1' })
    await on.manager.create({ slug: 'acme', id })
    const neighbour = { ...place('rls'), tenant: 'globex-1' }
    for (const each of [neighbour, place('rls')]) await ask(each.url, fill(each))
    let source = place('rls')
    let n = 0
    const statements = new Set<string>()
    for (const [input, isolation, shard] of isLong ? ways : ways.slice(0, 2)) {
      const name = `to ${isolation} on ${shard ?? 'the same'}`
      const target = place(isolation, shard)
      const before = await rows(source)
      let rounds = 0
      const { paused } = await move(input, source, step => {
        if (step === 'changes') rounds++
        if (!served.includes(step)) return undefined
        statements.add(step)
        n++
        return `${change(source, n)} ${
          source === neighbour || source.url !== neighbour.url ? '' : change(neighbour, n)
        }`
      })
      t.equal(rounds, 2, `${name}: change by change, while it is served and at the end`)
      t.ok(paused > 0, `${name}: it says how long it paused`)
      const [was, now] = [await rows(source), await rows(target)]
      t.notSame(was, before, `control: ${name}, it was written meanwhile`)
      t.same(now, was, `${name}: the rows are those that the old home had in the end`)
      t.same(await ask(source.url, traces), [], `${name}: no trigger is left, and nothing of the log`)
      await on.manager.confirmMove({ id })
      source = target
    }
    t.same([...statements].toSorted(), served.toSorted(), 'control: it was written at each of these points')
  }
)

t.test(
  "rows are matched by the source's primary key where the target has another",
  { buffered: true },
  async t => {
    const { on, id, move } = await items(
      t,
      isShared =>
        isShared
          ? 'create table items (tenant_id text not null, id bigint not null, n bigint not null, ' +
            'body text, primary key (tenant_id, n)); create table pairs (tenant_id text not null, a int, ' +
            'b int, body text, primary key (tenant_id, a, b))'
          : 'create table items (id bigint primary key, n bigint not null unique, body text); ' +
            'create table pairs (a int, b int, body text, primary key (b, a))',
      ['items', 'pairs']
    )
    await on.admin("insert into items select $1, g, 11 - g, 'row ' || g from generate_series(1, 10) g", [id])
    await on.admin('insert into pairs select $1, g, 11 - g from generate_series(1, 10) g', [id])
    const shared = (): Promise<object[]> =>
      on.admin(
        'select id, n, body from items where tenant_id = $1 union all select a, b, body from pairs ' +
          'where tenant_id = $1 order by 1, 2, 3',
        [id]
      )
    const own = (): Promise<object[]> =>
      on.admin(
        `select id, n, body from "tenant_${id}".items union all select a, b, body ` +
          `from "tenant_${id}".pairs order by 1, 2, 3`
      )
    await move(
      { isolation: 'schema' },
      once('snapshot', 'delete from items where n = 3; delete from pairs where a = 3')
    )
    t.same(await own(), await shared())
    t.equal((await shared()).length, 18, 'control: it was written meanwhile')
    await on.manager.confirmMove({ id })
    await move(
      { isolation: 'rls' },
      once(
        'snapshot',
        `delete from "tenant_${id}".items where id = 1; update "tenant_${id}".items set body = 'again' ` +
          `where id = 2; update "tenant_${id}".pairs set b = 99 where a = 2`
      )
    )
    t.same(await shared(), await own())
    t.equal((await shared()).filter(row => JSON.stringify(row).includes('again')).length, 1)
  }
)

t.test("the pause does not begin while a whole copy's time of changes is still to be brought over", {
  buffered: true
}, async t => {
  const { on, id, move } = await items(t)
  await on.admin('insert into items select $1, g from generate_series(1, 3000) g', [id])
  const steps: string[] = []
  let copies = 0
  await move({ isolation: 'schema' }, step => {
    steps.push(step)
    if (step === 'snapshot')
      return `truncate items; insert into items select '${id}', g from generate_series(1, 3000) g`
    // Reached after the rows have been read again.
    if (step === 'changes' && copies++ === 0) return "update items set body = 'late'"
    return undefined
  })
  const rounds = steps.filter(step => ['snapshot', 'changes', 'catch-up', 'lockout'].includes(step))
  t.same(
    rounds.slice(0, 4),
    ['snapshot', 'changes', 'changes', 'changes'],
    'the copy, what came in meanwhile, and the rest'
  )
  t.same(rounds.slice(-3), ['catch-up', 'lockout', 'changes'])
  t.same(await on.admin(`select count(*)::int as count from "tenant_${id}".items where body = 'late'`), [{
    count: 3000
  }])
})

t.test(
  'a tenant whose lockout outlived a rollback is served while the next call copies',
  { buffered: true },
  async t => {
    for (const status of isLong ? ['active', 'suspended'] as const : ['active'] as const) {
      const { on, id, move } = await items(t)
      await on.admin('insert into items select $1, g from generate_series(1, 3) g', [id])
      if (status === 'suspended') await on.manager.suspend({ id })
      const fail = `
      do $$ declare n text; begin for n in select tgname from pg_trigger
        where tgname like 'tenancy_move_%' loop execute format('drop trigger %I on items', n); end loop;
        end $$;
      create function no () returns trigger language plpgsql as $f$ begin raise 'the shard is away'; end $f$;
      create trigger no before delete or update on tenancy.lockouts for each row execute function no()`
      await t.rejects(move({ isolation: 'schema' }, once('wait', fail)), {
        code: 'FST_TENANCY_MOVE_FAILED',
        message: /triggers .* are incomplete/
      })
      t.same(
        await on.admin('select reason from tenancy.lockouts'),
        [{ reason: 'moving' }],
        'control: it is locked out'
      )
      await on.admin('drop trigger no on tenancy.lockouts')
      const asked: string[] = []
      await move({ isolation: 'schema' }, step => {
        if (!['capture', 'snapshot', 'catch-up'].includes(step)) return undefined
        asked.push(step)
        return `do $$ begin if exists (select from tenancy.lockouts where reason = 'moving') ` +
          `then raise 'locked out at ${step}'; end if; end $$`
      })
      t.same(asked, ['capture', 'snapshot', 'catch-up'])
      t.match(await on.manager.get({ id }), { isolation: 'schema', status })
      t.same(await on.admin('select placement, reason from tenancy.lockouts order by 1'), [
        ...status === 'suspended' ? [{ placement: 'schema', reason: 'suspended' }] : [],
        { placement: 'shared', reason: 'moved' }
      ])
    }
  }
)
