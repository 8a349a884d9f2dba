// What a move notices of concurrent changes, and what it leaves when it is stopped.
import t from 'tap'

import { ask } from '../support/sql.ts'
import { elsewhere } from '../support/standstill.ts'
import { until } from '../support/until.ts'
import { items, once, plain } from './small-tenant-fixture.ts'

t.jobs = 2

t.test(
  'a pause that is over ends the statement in the server, too, with its locks',
  { buffered: true },
  async t => {
    const { on, id, move } = await items(t, isShared =>
      `${plain(isShared)};
    create function sleepy () returns trigger language plpgsql as $f$ begin if new.body = 'slow'
      then perform pg_sleep(100); end if; return new; end $f$;
    ${isShared ? '' : 'create trigger sleepy before insert on items for each row execute function sleepy()'}`)
    await on.admin('insert into items select $1, g from generate_series(1, 3) g', [id])
    const asleep =
      "select from pg_stat_activity where datname = current_database() and wait_event = 'PgSleep'"
    let seen = 0
    const watching = until(async () => {
      seen += (await on.admin(asleep)).length
      return seen
    })
    let failed: { code?: string; message?: string } = {}
    move({ isolation: 'schema', pause: '2s' }, once('lockout', "update items set body = 'slow' where id = 1"))
      .catch((error: Error) => {
        failed = error
      })
    await watching
    t.ok(seen > 0, 'control: it was at work')
    await until(async () => (await on.admin(asleep)).length === 0)
    await until(() => failed.message !== undefined)
    t.match(failed, { code: 'FST_TENANCY_MOVE_FAILED', message: /locked out for more than 2 s/ })
    t.match(await on.manager.get({ id }), { isolation: 'rls', status: 'active' })
    t.same(
      await on.admin("select from pg_namespace where nspname like 'tenant_%'"),
      [],
      'what was made is gone'
    )
  }
)

t.test('a migration of both homes, and a table that is written anew, are noticed: all is copied again', {
  buffered: true
}, async t => {
  const { on, id, move } = await items(t, plain, ['items'], ['eu'])
  const shard = on.shardUrls['eu'] ?? ''
  const other = elsewhere(t)
  await on.admin('insert into items select $1, g from generate_series(1, 3) g', [id])
  const add = 'alter table items add column token uuid not null default gen_random_uuid()'
  let isAdded = false
  const steps: string[] = []
  await move({ shard: 'eu' }, step => {
    steps.push(step)
    if (step !== 'snapshot' || isAdded) return undefined
    isAdded = true
    other.run(shard, add)
    return add
  })
  t.same(steps.filter(step => ['snapshot', 'changes', 'catch-up'].includes(step)), ['snapshot', 'changes',
    'changes', 'catch-up', 'changes'])
  const tokens = 'select id, token from items order by 1'
  t.same(await ask(shard, tokens), await on.admin(tokens))
  await on.manager.confirmMove({ id })
  // This fires no row trigger and leaves the number of rows unchanged.
  await move({ shard: 'default' }, step => {
    if (step === 'snapshot') other.run(shard, "alter table items alter column body type text using 'anew'")
    return undefined
  })
  t.same(await on.admin('select body from items'), [{ body: 'anew' }, { body: 'anew' }, { body: 'anew' }])
})

t.test(
  'a partition that is attached, or emptied, is noticed: all is copied again',
  { buffered: true },
  async t => {
    const { on, id, move } = await items(t, isShared => `
    create table items (${
      isShared ? 'tenant_id text not null, ' : ''
    }id bigint not null, body text, primary key (${isShared ? 'tenant_id, ' : ''}id)) partition by range (id);
    create table items_1 partition of items for values from (0) to (10);
    create table items_2 partition of items for values from (10) to (20)`)
    await on.admin('insert into items select $1, g from generate_series(1, 19) g', [id])
    const both = async (): Promise<void> => {
      t.same(
        await on.admin(`select id, body from "tenant_${id}".items order by 1`),
        await on.admin('select id, body from items order by 1')
      )
    }
    const anew =
      'create table items_3 (like items including all); insert into items_3 select * from items_2; ' +
      `update items_3 set body = 'anew'; alter table items detach partition items_2; ` +
      'alter table items attach partition items_3 for values from (10) to (20)'
    await move({ isolation: 'schema' }, once('snapshot', anew))
    await both()
    t.same(await on.admin(`select count(*)::int as count from "tenant_${id}".items where body = 'anew'`), [{
      count: 10
    }])
    await on.manager.confirmMove({ id })
    const steps: string[] = []
    await move({ isolation: 'rls' }, step => {
      steps.push(step)
      return step === 'snapshot' ? `truncate "tenant_${id}".items_1` : undefined
    })
    await both()
    t.same(steps.filter(step => ['snapshot', 'changes', 'catch-up'].includes(step)), ['snapshot', 'changes',
      'changes', 'catch-up', 'changes'], 'while it is served')
  }
)

t.test(
  "renaming or dropping a captured key column fails the move, not the tenant's writes",
  { buffered: true },
  async t => {
    const { on, id, move } = await items(t)
    await on.admin('insert into items select $1, g from generate_series(1, 3) g', [id])
    const written = (column: string): string =>
      `insert into items (tenant_id, ${column}) values ('${id}', 'x'); ` +
      `update items set body = 'written'; delete from items where body = 'nobody'`
    await t.rejects(
      move(
        { isolation: 'schema' },
        once(
          'capture',
          `alter table items rename column id to item_id; insert into items values ('${id}', 4); ` +
            `update items set body = 'written'; delete from items where item_id = 1`
        )
      ),
      { code: 'FST_TENANCY_MOVE_FAILED' }
    )
    t.same(
      await on.admin('select item_id, body from items order by 1'),
      [2, 3, 4].map(item => ({ item_id: String(item), body: 'written' }))
    )
    await on.admin('alter table items rename column item_id to id')
    await t.rejects(
      move({ isolation: 'schema' }, once('snapshot', `alter table items drop column id; ${written('body')}`)),
      { code: 'FST_TENANCY_MOVE_FAILED' }
    )
    t.equal((await on.admin("select from items where body = 'written'")).length, 4)
    t.same(await on.admin('select from tenancy.move_changes'), [])
  }
)

t.test('rows written under session_replication_role = replica are copied', { buffered: true }, async t => {
  const { on, id, move } = await items(t)
  await on.admin('insert into items select $1, g from generate_series(1, 3) g', [id])
  await move(
    { isolation: 'schema' },
    once('catch-up', "set session_replication_role = replica; update items set body = 'replica' where id = 2")
  )
  t.same(await on.admin(`select id from "tenant_${id}".items where body = 'replica'`), [{ id: '2' }])
})

t.test(
  'types of the same name in both homes are the same to a move, also in a key',
  { buffered: true },
  async t => {
    const { on, id, move } = await items(t, isShared => `
    create type mood as enum ('a', 'b'); create domain words as text;
    create table items (${
      isShared ? 'tenant_id text not null, ' : ''
    }id bigint not null, m mood not null, w words[], primary key (${isShared ? 'tenant_id, ' : ''}id, m))`)
    await on.admin("insert into items select $1, g, 'a', array['x'] from generate_series(1, 3) g", [id])
    const own = `"tenant_${id}".items`
    await move(
      { isolation: 'schema' },
      once(
        'snapshot',
        "update items set m = 'b' where id = 1; update items set w = array['y'] where id = 2; " +
          'delete from items where id = 3'
      )
    )
    t.same(
      await on.admin(`select id, m, w from ${own} order by 1`),
      await on.admin('select id, m, w from items order by 1')
    )
    t.equal((await on.admin(`select from ${own}`)).length, 2)
    await on.manager.confirmMove({ id })
    await move(
      { isolation: 'rls' },
      once('snapshot', `update ${own} set m = 'a' where id = 1; insert into ${own} values (7, 'a')`)
    )
    t.same(
      await on.admin('select id, m, w from items order by 1'),
      await on.admin(`select id, m, w from ${own} order by 1`)
    )
  }
)

t.test('a row whose key is written in two ways is brought over once', { buffered: true }, async t => {
  const { on, id, move } = await items(
    t,
    isShared =>
      `create table items (${
        isShared ? 'tenant_id text not null, ' : ''
      }id numeric not null, body text, primary key (${isShared ? 'tenant_id, ' : ''}id))`
  )
  await on.admin('insert into items select $1, g from generate_series(1, 3) g', [id])
  const steps: string[] = []
  await move({ isolation: 'schema' }, step => {
    steps.push(step)
    return step === 'snapshot'
      ? 'update items set id = 1.00 where id = 1; update items set id = 1.0 where id = 1'
      : undefined
  })
  t.same(
    await on.admin(`select id::text from "tenant_${id}".items order by 1`),
    ['1.0', '2', '3'].map(id => ({ id }))
  )
  t.same(steps.filter(step => ['snapshot', 'changes', 'catch-up'].includes(step)), ['snapshot', 'changes',
    'catch-up', 'changes'], 'without another copy')
})

t.test('unique values that a long row of rows hands on are brought over, where the rows may not leave', {
  buffered: true
}, async t => {
  const { on, id, move } = await items(t, isShared => {
    const [column, key] = isShared ? ['tenant_id text not null, ', 'tenant_id, '] : ['', '']
    return `
      create table items (${column}id bigint not null, place int, primary key (${key}id),
        unique (${key}place));
      create table parts (${column}id bigint, item bigint, primary key (${key}id), foreign key (${key}item)
        references items on delete cascade)`
  }, ['items', 'parts'])
  await on.admin('insert into items select $1, g, g from generate_series(1, 300) g', [id])
  await on.admin('insert into parts select $1, g, g from generate_series(1, 300) g', [id])
  await move(
    { isolation: 'schema' },
    once('snapshot', 'update items set place = -place; update items set place = 1 - place')
  )
  t.same(
    await on.admin(`select id, place from "tenant_${id}".items order by 1`),
    await on.admin('select id, place from items order by 1')
  )
  t.same(await on.admin(`select count(*)::int as count from "tenant_${id}".parts where item = id`), [{
    count: 300
  }])
})
