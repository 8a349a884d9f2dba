// Primary keys that differ between source and target, or that change during the move.
import t from 'tap'

import { items, once } from './small-tenant-fixture.ts'

t.jobs = 2

t.test(
  'a move is refused before its copy if target keys differ where rows cannot be re-inserted',
  { buffered: true },
  async t => {
    let own = '(id)'
    const { on, id, move } = await items(t, isShared => `
    create table items (${
      isShared ? 'tenant_id text not null, ' : ''
    }id bigint not null unique, n bigint not null, primary key ${isShared ? '(tenant_id, n)' : own});
    create table parts (${
      isShared ? 'tenant_id text not null, ' : ''
    }id bigint primary key, item bigint references items (id) on delete cascade)`, ['items', 'parts'])
    await t.rejects(move({ isolation: 'schema' }, step => step === 'capture' ? 'select 1/0' : undefined), {
      code: 'FST_TENANCY_MOVE_FAILED',
      message: /primary key of table 'items' is \(id\) in the target, and \(n\) in the source/
    })
    own = '(n) deferrable'
    await t.rejects(move({ isolation: 'schema' }, step => step === 'capture' ? 'select 1/0' : undefined), {
      code: 'FST_TENANCY_MOVE_FAILED',
      message: /primary key of table 'items' is deferrable/
    })
    t.match(await on.manager.get({ id }), { isolation: 'rls', status: 'active' })
    t.same(await on.admin('select from tenancy.moves union all select from tenancy.lockouts'), [])
  }
)

t.test(
  'leftover triggers are recreated, and a primary key that changes meanwhile ends the move',
  { buffered: true },
  async t => {
    const { on, id, move } = await items(t)
    await on.admin('insert into items select $1, g from generate_series(1, 5) g', [id])
    const triggers = "select count(*)::int as count from pg_trigger where tgname like 'tenancy_move_%'"
    await t.rejects(
      move(
        { isolation: 'schema' },
        once(
          'snapshot',
          'update items set body = id; alter table items drop constraint items_pkey; ' +
            'alter table items add primary key (tenant_id, body)'
        )
      ),
      { code: 'FST_TENANCY_MOVE_FAILED' }
    )
    t.same(await on.admin(triggers), [{ count: 0 }])
    await on.admin(
      `alter table items drop constraint items_pkey; alter table items add primary key (tenant_id, id)`
    )
    let stale = ''
    await move(
      { isolation: 'schema' },
      once(
        'check',
        `
    do $$ declare event text; begin
      foreach event in array array['insert', 'update', 'delete'] loop
        execute format('create trigger %I after %s on items for each row '
          'execute function tenancy.record_change(%L, %L, %L)',
          'tenancy_move_' || left(encode(sha256('${id}'), 'hex'), 16) || '_' || event, event,
          '${id}', 'items', 'body');
      end loop;
      execute format('create trigger %I after truncate on items '
        'execute function tenancy.record_change(%L, %L, %L)',
        'tenancy_move_' || left(encode(sha256('${id}'), 'hex'), 16) || '_truncate',
        '${id}', 'items', 'body');
    end $$`
      )
    ).catch((error: Error) => {
      stale = error.message
    })
    t.equal(stale, '')
    t.same(
      await on.admin(`select id from "tenant_${id}".items order by 1`),
      await on.admin('select id from items order by 1')
    )
  }
)
