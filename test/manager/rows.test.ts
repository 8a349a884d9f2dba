// Tables of every form: a move copies their rows unchanged, or is refused by name before any copy.
import { rolesOf } from '@fastify-tenancy/postgres/roles'
import { sql } from 'kysely'
import type { Migration } from 'kysely/migration'
import { readFileSync, readdirSync } from 'node:fs'
import t, { type Test } from 'tap'

import { keepOthersOut } from '../support/keep-others-out.ts'
import { isLong } from '../support/long.ts'
import { ask, connect, databaseOf } from '../support/sql.ts'
import { elsewhere } from '../support/standstill.ts'
import { until } from '../support/until.ts'
import { folder, managerFixture, unique, type ManagerFixture } from './manager-fixture.ts'
import { once } from './small-tenant-fixture.ts'

/** Names that our own SQL uses for tables, columns and variables. */
const aliases = [
  'r',
  't',
  't1',
  'd0',
  'i0',
  'c',
  'k',
  'p',
  'n',
  'o',
  'd',
  'e',
  'line',
  'lines',
  'now',
  'parent',
  'changed',
  'old',
  'new',
  'next',
  'todo',
  'stuck',
  'pass',
  'state',
  'newest',
  'highest',
  'tab',
  'key',
  'key_parts',
  'excluded',
  'differing',
  'row',
  'value',
  'ctid_',
  'count',
  'tenant',
  'home',
  'u',
  'num',
  'place',
  'first',
  'named',
  'arg',
  'args',
  'entries',
  'ledger'
]
const columns = aliases.map(name => `"${name}" text`).join(', ')
const own = (isShared: boolean): string => isShared ? 'tenant_id text not null, ' : ''
const key = (isShared: boolean): string => isShared ? 'tenant_id, ' : ''

/** Returns all rows of a tenant, table by table, in the form of an export. */
async function contents (t: Test, on: ManagerFixture, id: string): Promise<Record<string, string>> {
  const at = `${folder(t)}/export`
  await on.manager.export({ id }, { to: at })
  return Object.fromEntries(
    readdirSync(`${at}/tables`).toSorted().map(name => [name, readFileSync(`${at}/tables/${name}`, 'utf8')])
  )
}

/**
 * Moves a tenant through every strategy while its rows change, and imports it into each. The rows
 * are the same after each. With `isShort`, the daily run only goes into a schema and back.
 */
async function travels (
  t: Test,
  on: ManagerFixture,
  id: string,
  { change, isShort = !isLong }: { change?: (schema: string) => string; isShort?: boolean } = {}
): Promise<void> {
  const at = `${folder(t)}/export`
  await on.manager.export({ id }, { to: at })
  const before = await contents(t, on, id)
  for (const isolation of isShort ? ['schema'] as const : ['schema', 'database', 'rls'] as const) {
    await on.manager.import(at, { slug: `copy-${isolation}`, id: unique(on, `copy_${isolation}`), isolation })
    t.same(await contents(t, on, unique(on, `copy_${isolation}`)), before, `imported: ${isolation}`)
  }
  // Together with sequences.test.ts, the daily run covers every pair of placements.
  const homes = ['database', 'schema', ...isLong ? ['database'] as const : [], 'rls'] as const
  for (const isolation of isShort ? ['schema', 'rls'] as const : homes) {
    if (change !== undefined) {
      const { placement, isolation: now } = await on.manager.get({ id }) ?? {}
      const url = now === 'database' ? on.superUrl.replace(/\/[^/]*$/, `/tenant_${id}`) : on.superUrl
      await ask(url, change(now === 'schema' ? `"${placement?.schema}"` : 'public'))
    }
    const last = await contents(t, on, id)
    await on.manager.move({ id }, { isolation })
    t.same(await contents(t, on, id), last, `moved: ${isolation}`)
    await on.manager.confirmMove({ id })
  }
}

const likeOurs = (isShared: boolean): string => `
  create table "r" (${own(isShared)}id int not null, ${columns}, primary key (${key(isShared)}id));
  create table "changed" (${own(isShared)}"line" text not null, "t" int not null, ${
  isShared ? '"parent" text, "r" text, ' : '"parent" text, "r" text, '
}primary key (${key(isShared)}"line"), foreign key (${key(isShared)}"t") references "r" (${
  key(isShared)
}id) on delete cascade);
  create table "lines" (${own(isShared)}"next" text not null, "t" text, "c" int, "todo" int, primary key (${
  key(isShared)
}"next"), unique (${key(isShared)}"c"), foreign key (${
  key(isShared)
}"t") references "lines" on delete cascade);
  create table "t" (${own(isShared)}"t" text, "row" text)`

t.test(
  'DAT-09 columns and tables that are named like anything in our own SQL',
  { buffered: true },
  async t => {
    const on = await managerFixture(t, {
      build: likeOurs,
      tables: { tenant: ['r', 'changed', 'lines', 't'], shared: ['countries'] }
    })
    const id = unique(on, 'a')
    await on.manager.create({ slug: 'acme', id })
    await on.admin(`
    insert into "r" select '${id}', g, ${
      aliases.map(name => `'${name} ' || g`).join(', ')
    } from generate_series(1, 3) g;
    insert into "changed" select '${id}', 'line ' || g, g, 'parent', 'r' from generate_series(1, 3) g;
    insert into "lines" values ('${id}', 'a', null, 1, 1), ('${id}', 'b', 'a', 2, 2);
    insert into "t" values ('${id}', 't', 'row'), ('${id}', 't', 'row')`)
    await travels(t, on, id, { isShort: false })
    // Changes that are copied one by one, among them unique values that swap.
    const other = elsewhere(t)
    const change = once(
      'catch-up',
      `
    update "lines" set "c" = 3 - "c" + 10 where tenant_id = '${id}'; update "lines" set "c" = "c" - 10
      where tenant_id = '${id}';
    update "r" set "r" = 'changed', "next" = 'changed' where tenant_id = '${id}' and id = 2;
    delete from "changed" where "t" = 3; insert into "t" values ('${id}', 'more', 'row')`
    )
    const steps: string[] = []
    await on.another({
      progress ({ step }) {
        steps.push(step)
        const sql = change(step)
        if (sql !== undefined) other.run(on.superUrl, sql)
      }
    }).move({ id }, { isolation: 'schema' })
    t.match(await on.admin(`select "c", "next" from "tenant_${id}"."lines" order by 1`), [{ c: 1, next: 'b' },
      { c: 2, next: 'a' }])
    t.match(await on.admin(`select "r", "next" from "tenant_${id}"."r" where id = 2`), [{
      r: 'changed',
      next: 'changed'
    }])
    t.match(await on.admin(`select count(*)::int as n from "tenant_${id}"."changed"`), [{ n: 2 }])
  }
)

const likeAdopted = (): string => `
  create table organizations (id text primary key, ${columns});
  create table "parent" ("r" int primary key, org text not null references organizations, "t" text,
    "parent" text, "changed" text, "child" text, "new" text);
  create table "child" ("parent" int not null references "parent", "t" int primary key, "changed" text)`

t.test(
  'DAT-09 protect and backfill work on tables and columns named like words of our SQL',
  { buffered: true },
  async t => {
    const on = await managerFixture(t, {
      build: likeAdopted,
      tables: { tenant: { organizations: 'id' }, shared: ['countries'] }
    })
    await on.admin(
      `insert into organizations (id) values ('acme'), ('globex'); ` +
        `insert into "parent" values (1, 'acme'), (2, 'globex'); insert into "child" values (1, 10), ` +
        '(2, 20)'
    )
    const manager = on.another({
      database: { url: on.superUrl },
      tables: {
        tenant: { organizations: 'id', parent: 'tenant_id', child: 'tenant_id' },
        shared: ['countries']
      },
      adoption: { backfill: {} }
    })
    await keepOthersOut(await connect(t, on.superUrl), on.superUrl)
    await manager.protect({ stage: 'prepare' })
    t.same(await on.admin('select tenant_id from "parent" order by 1'), [{ tenant_id: 'acme' }, {
      tenant_id: 'globex'
    }])
    t.same(await on.admin('select tenant_id from "child" order by 1'), [{ tenant_id: 'acme' }, {
      tenant_id: 'globex'
    }])
  }
)

const narrow = (isShared: boolean): string => `
  create table words (${own(isShared)}word text not null, primary key (${
  key(isShared)
}word)); create table loose (${own(isShared)}r text);
  ${isShared ? 'create table members (tenant_id text primary key)' : 'create table members ()'}`

t.test(
  'DAT-10 a table of one column, and one of the tenant column alone, go along',
  { buffered: true },
  async t => {
    const on = await managerFixture(t, {
      build: narrow,
      tables: { tenant: ['words', 'loose', 'members'], shared: ['countries'] }
    })
    const id = unique(on, 'a')
    await on.manager.create({ slug: 'acme', id })
    await on.admin(
      `insert into words values ('${id}', 'one'), ('${id}', 'two'); ` +
        `insert into loose values ('${id}', 'x'), ('${id}', 'x'), ('${id}', null); ` +
        `insert into members values ('${id}')`
    )
    await travels(
      t,
      on,
      id,
      { change: schema => `insert into ${schema}.loose (r) select 'more' where '${schema}' <> 'public'` }
    )
  }
)

const inherited = (isShared: boolean): string => `
  create table places (${own(isShared)}id int not null, name text, primary key (${key(isShared)}id));
  create table capitals (state text, primary key (${key(isShared)}id)) inherits (places)`

t.test(
  'DAT-10 INHERITS children that are tenant tables move, others are named before any copy',
  { buffered: true },
  async t => {
    const on = await managerFixture(t, {
      build: inherited,
      tables: { tenant: ['places', 'capitals'], shared: ['countries'] }
    })
    const id = unique(on, 'a')
    await on.manager.create({ slug: 'acme', id })
    await on.admin(
      `insert into places values ('${id}', 1, 'Nijmegen'); insert into capitals values ('${id}', 2, ` +
        `'Amsterdam', 'NL')`
    )
    await travels(t, on, id)
    const unlisted = on.another({ tables: { tenant: ['places'], shared: ['countries'] } })
    const named = /table public\.places has the child table public\.capitals by INHERITS/
    await t.rejects(unlisted.move({ id }, { isolation: 'schema' }), {
      code: 'FST_TENANCY_MOVE_FAILED',
      message: named
    })
    await t.rejects(unlisted.export({ id }, { to: `${folder(t)}/export` }), {
      code: 'FST_TENANCY_EXPORT_REFUSED',
      message: named
    })
    t.match(await on.admin('select count(*)::int as n from places where tenant_id = $1', [id]), [{ n: 2 }])
  }
)

const plainNotes = (isShared: boolean): string =>
  `create table notes (${own(isShared)}id int not null, primary key (${key(isShared)}id))`

t.test(
  'DAT-10 partitions elsewhere and tables of another role are named before any copy',
  { buffered: true },
  async t => {
    const on = await managerFixture(t, {
      build: plainNotes,
      tables: { tenant: ['notes'], shared: ['countries'] }
    })
    const id = unique(on, 'a')
    const { placement: { schema } } = await on.manager.create({ slug: 'acme', id, isolation: 'schema' })
    await on.admin(
      'create table events (tenant text, n int) partition by list (tenant); ' +
        `create table "${schema}".events partition of events for values in ('acme'); ` +
        `insert into events values ('acme', 1)`
    )
    await t.rejects(on.manager.move({ id }, { isolation: 'database' }), {
      code: 'FST_TENANCY_MOVE_FAILED',
      message:
        /table tenant_\w+\.events is a partition of public\.events, which is outside the tenant's schema/
    })
    await on.admin(`alter table events detach partition "${schema}".events; drop table "${schema}".events`)
    await on.admin(`create table "${schema}".secret (n int)`)
    const named = new RegExp(
      String.raw`table tenant_\w+\.secret belongs to role postgres, which this login cannot become: ` +
        String.raw`alter table tenant_\w+\.secret owner to tenancy_owner_\w+`
    )
    await t.rejects(on.manager.move({ id }, { isolation: 'database' }), {
      code: 'FST_TENANCY_MOVE_FAILED',
      message: named
    })
    await t.rejects(on.manager.export({ id }, { to: `${folder(t)}/export` }), {
      code: 'FST_TENANCY_EXPORT_REFUSED',
      message: named
    })
    await on.admin(`drop table "${schema}".secret`)
    t.match(await on.manager.move({ id }, { isolation: 'database' }), { isolation: 'database' })
  }
)

const partial = (isShared: boolean): string =>
  `create table notes (${own(isShared)}id int not null, parent int, n int, primary key (${key(isShared)}id))`

t.test(
  'DAT-10 rows that break a NOT VALID constraint are named before any copy',
  { buffered: true },
  async t => {
    const on = await managerFixture(t, {
      build: partial,
      tables: { tenant: ['notes'], shared: ['countries'] }
    })
    const id = unique(on, 'a')
    await on.manager.create({ slug: 'acme', id })
    await on.admin(`insert into notes values ('${id}', 1, 99, -1), ('globex-1', 1, 98, -5)`)
    const attempts = [['check (n > 0)', 'update notes set n = 1 where tenant_id = $1'], [
      'foreign key (tenant_id, parent) references notes',
      'update notes set parent = 1 where tenant_id = $1'
    ]] as const
    for (const [constraint, mend] of attempts) {
      await on.admin(`alter table notes add constraint odd ${constraint} not valid`)
      const steps: string[] = []
      await t.rejects(
        on.another({
          progress: ({ step }) => {
            steps.push(step)
          }
        }).move({ id }, { isolation: 'schema' }),
        {
          code: 'FST_TENANCY_MOVE_FAILED',
          message: /rows of table 'notes' break its constraint 'odd', which is NOT VALID/
        }
      )
      t.notOk(steps.some(step => step.startsWith('rows')), 'nothing was copied')
      await on.admin(mend, [id])
      t.match(
        await on.manager.move({ id }, { isolation: 'schema' }),
        { isolation: 'schema' },
        `${constraint}: the tenant's own rows alone count`
      )
      await on.manager.confirmMove({ id })
      await on.manager.move({ id }, { isolation: 'rls' })
      await on.manager.confirmMove({ id })
      await on.admin('alter table notes drop constraint odd')
    }
  }
)

const audited = (isShared: boolean): string => `
  create table notes (${own(isShared)}id int not null, body text, seen int not null default 0, primary key (${
  key(isShared)
}id));
  create table audit (${own(isShared)}id int not null, what text not null);
  create function log_notes () returns trigger language plpgsql as $f$ begin
    execute format('insert into %I.audit (${isShared ? 'tenant_id, ' : ''}id, what) values (${
  isShared ? '$1.tenant_id, ' : ''
}$1.id, $2)', tg_table_schema) using new, tg_op; return new; end $f$;
  create function count_notes () returns trigger language plpgsql as $f$ begin new.seen := new.seen + 1;
  return new; end $f$;
  create trigger log after insert or update on notes for each row execute function log_notes();
  create trigger count before insert on notes for each row execute function count_notes()`

t.test(
  'DAT-10 triggers on inserts do not fire for copied rows and work again afterwards',
  { buffered: true },
  async t => {
    const on = await managerFixture(t, {
      build: audited,
      tables: { tenant: ['notes', 'audit'], shared: ['countries'] }
    })
    const id = unique(on, 'a')
    await on.manager.create({ slug: 'acme', id })
    await on.admin(
      `insert into notes values ('${id}', 1, 'one'), ('${id}', 2, 'two'); ` +
        `update notes set body = 'three' where tenant_id = '${id}' and id = 2`
    )
    await travels(t, on, id)
    await on.admin(`insert into notes values ('${id}', 3, 'three')`)
    t.match(
      await on.admin(
        'select seen, (select count(*)::int from audit where id = 3 and tenant_id = $1) as audited ' +
          'from notes where id = 3 and tenant_id = $1',
        [id]
      ),
      [{ seen: 1, audited: 1 }]
    )
  }
)

const softly = (isShared: boolean): string =>
  `create table notes (${own(isShared)}id int not null, gone bool not null default false, primary key (${
    key(isShared)
  }id));
  create function keep () returns trigger language plpgsql as $f$ begin
    execute format('update %I.notes set gone = true where id = $1', tg_table_schema) using old.id;
    return null; end $f$;
  create trigger soft before delete on notes for each row execute function keep()`

t.test('DAT-10 a trigger that keeps deleted rows stops a purge and a confirmed move by its name', {
  buffered: true
}, async t => {
  const on = await managerFixture(t, { build: softly, tables: { tenant: ['notes'], shared: ['countries'] } })
  const id = unique(on, 'a')
  await on.manager.create({ slug: 'acme', id })
  await on.admin(`insert into notes values ('${id}', 1), ('${id}', 2)`)
  await on.manager.move({ id }, { isolation: 'schema' })
  await t.rejects(on.manager.confirmMove({ id }), {
    code: 'FST_TENANCY_TENANT_CONFLICT',
    message: /rows of table 'notes' still exist after their deletion: trigger soft on notes keeps them/
  })
  await on.admin('alter table notes disable trigger soft')
  t.match(await on.manager.confirmMove({ id }), { isolation: 'schema' })
  t.same(await on.admin('select from notes'), [])
  await on.manager.create({ slug: 'globex', id: 'globex-1' })
  await on.admin("alter table notes enable trigger soft; insert into notes values ('globex-1', 1)")
  await on.manager.delete({ id: 'globex-1' }, { grace: '0s' })
  await t.rejects(on.manager.purge({ id: 'globex-1' }), {
    code: 'FST_TENANCY_TENANT_CONFLICT',
    message: /trigger soft on notes keeps them/
  })
})

const busy = (isShared: boolean): string =>
  `create type slow as (n int); create table notes (${own(isShared)}id int not null, primary key (${
    key(isShared)
  }id))`

t.test('an export that is aborted before its first row cancels its statement in the server', {
  buffered: true
}, async t => {
  const on = await managerFixture(t, { build: busy, tables: { tenant: ['notes'], shared: ['countries'] } })
  const id = unique(on, 'a')
  const { placement: { schema } } = await on.manager.create({ slug: 'acme', id, isolation: 'schema' })
  await on.admin(`insert into "${schema}".notes select generate_series(1, 3)`)
  const { owner } = rolesOf(databaseOf(on.superUrl))
  // Sorting keeps the server busy without sending a byte.
  await on.admin(
    `alter table "${schema}".notes drop constraint notes_pkey; alter table "${schema}".notes add busy int;
    create function "${schema}".wait () returns int language plpgsql as $f$ begin perform pg_sleep(60);
    return 1; end $f$;
    drop table "${schema}".notes; create view "${schema}".none as select 1 as n;
    create table "${schema}".notes (id int generated always as identity, body text);
    alter table "${schema}".notes owner to "${owner}"; insert into "${schema}".notes (body)
      select repeat('x', 100) from generate_series(1, 100)`
  )
  const blocker = await connect(t, on.superUrl)
  await blocker.query(`begin; lock table "${schema}".notes in access exclusive mode`)
  const abort = new AbortController()
  const backends = (): Promise<unknown[]> =>
    on.admin(
      "select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock' " +
        "and query like 'copy%'"
    )
  const ended = t.rejects(on.manager.export({ id }, { to: `${folder(t)}/export`, signal: abort.signal }), {
    name: 'AbortError'
  })
  await until(async () => (await backends()).length === 1)
  abort.abort()
  await ended
  await until(async () => (await backends()).length === 0)
  t.pass('the backend waits no more')
})

const childPolicies = (): string =>
  'create table projects (tenant_id text not null, id int primary key); ' +
  'create table tasks (project_id int not null references projects, n int)'

const provider = (statements: string): { getMigrations(): Promise<Record<string, Migration>> } => ({
  getMigrations: async () => ({
    '001': {
      up: async db => {
        for (const text of statements.split(';')) await sql.raw(text).execute(db)
      }
    }
  })
})

t.test(
  "a type change of a column used in child tables' policies says how to do it",
  { buffered: true },
  async t => {
    const on = await managerFixture(t, {
      build: childPolicies,
      tables: { tenant: ['projects', 'tasks'], shared: ['countries'] }
    })
    const change = 'alter table tasks alter project_id type bigint; alter table projects alter id type bigint'
    await t.rejects(on.another({ migrations: { shared: provider(change) } }).migrate(), {
      message: new RegExp(
        'policy tenancy_tenant on table tasks depends on .*drop that policy first, in the ' +
          String.raw`same migration \(drop policy tenancy_tenant on`
      )
    })
    await on.another({ migrations: { shared: provider(`drop policy tenancy_tenant on tasks; ${change}`) } })
      .migrate()
    t.same(
      await on.admin("select polname::text from pg_policy where polrelid = 'tasks'::regclass order by 1"),
      [{ polname: 'tenancy_system' }, { polname: 'tenancy_tenant' }]
    )
    t.same(
      await on.admin(
        'select format_type(atttypid, null) as type from pg_attribute ' +
          "where attrelid = 'projects'::regclass and attname = 'id'"
      ),
      [{ type: 'bigint' }]
    )
  }
)

t.test('DAT-07 protect skips members of extensions, and a migration reports them as unowned', {
  buffered: true
}, async t => {
  const on = await managerFixture(t, {
    build: plainNotes,
    tables: { tenant: ['notes'], shared: ['countries'] }
  })
  // A view and a sequence that belong to an extension, with their grants, as PostGIS has in public.
  await on.admin(`create extension pg_stat_statements; create extension citext;
    create table spatial_ref_sys (srid int primary key); grant select on spatial_ref_sys to public;
    create sequence spatial_seq; grant usage on sequence spatial_seq to public;
    alter extension citext add table spatial_ref_sys; alter extension citext add sequence spatial_seq`)
  const acls = (): Promise<unknown[]> =>
    on.admin(`
    select c.relname::text as name, c.relacl::text as acl, pg_get_userbyid(c.relowner)::text as owner,
      c.relrowsecurity as secured
    from pg_class c join pg_depend d on d.classid = 'pg_class'::regclass and d.objid = c.oid
      and d.deptype = 'e' where c.relkind in ('r', 'v', 'S') order by 1`)
  const before = await acls()
  t.match(before, [{ name: 'pg_stat_statements' }, { name: 'pg_stat_statements_info' }, {
    name: 'spatial_ref_sys'
  }, { name: 'spatial_seq' }])
  await on.manager.protect()
  t.same(await acls(), before)
  const migrations = { shared: { getMigrations: async () => ({ '001': { up: async () => {} } }) } }
  t.same((await on.another({ migrations }).migrate()).shared, [{
    shard: 'default',
    applied: ['001'],
    unlisted: [],
    unprotected: []
  }])
  t.same(await acls(), before)
  const listing = (list: 'shared' | 'global'): ReturnType<ManagerFixture['another']> =>
    on.another({
      database: { url: on.superUrl },
      tables: {
        tenant: ['notes'],
        shared: ['countries', ...list === 'shared' ? ['spatial_ref_sys'] : []],
        global: list === 'global' ? ['spatial_ref_sys'] : []
      }
    })
  await t.rejects(listing('global').protect(), {
    code: 'FST_TENANCY_SETUP_INVALID',
    message: /"spatial_ref_sys" is a part of extension 'citext'/
  })
  await listing('shared').protect()
  t.match(
    await on.admin(
      'select pg_get_userbyid(relowner)::text as owner, relacl::text as acl from pg_class ' +
        "where relname = 'spatial_ref_sys'"
    ),
    [{ owner: 'postgres', acl: /=r\/postgres.*tenancy_app/ }]
  )
})
