// Sequences of every kind move with a tenant, and never beyond its own numbers.
import { readFileSync } from 'node:fs'
import t, { type Test } from 'tap'

import { isLong } from '../support/long.ts'
import { connect } from '../support/sql.ts'
import { folder, managerFixture, unique, type ManagerFixture } from './manager-fixture.ts'

/** Tables that draw numbers from sequences of every kind. */
const build = (isShared: boolean): string => {
  const [column, key] = isShared ? ['tenant_id text not null, ', 'tenant_id, '] : ['', '']
  return `
    create sequence pair; create sequence down increment -1; create sequence numbers start 1000;
    create sequence cached cache 20; create sequence wrapped;
    create function next_wrapped () returns bigint language sql begin atomic select nextval('wrapped'); end;
    create table owned (${column}id serial, primary key (${key}id));
    create table identity (${column}id bigint generated always as identity (increment 5),
      primary key (${key}id));
    create table first (${column}id bigint not null default nextval('pair'), primary key (${key}id));
    create table second (${column}id bigint not null default nextval('pair'), primary key (${key}id));
    create table downward (${column}id bigint not null default nextval('down'), primary key (${key}id));
    create table invoices (${column}id text not null default 'INV-' || nextval('numbers'),
      primary key (${key}id));
    create table taken (${column}id bigint not null default nextval('cached'), primary key (${key}id));
    create table called (${column}id bigint not null default next_wrapped(), primary key (${key}id))`
}
const names = ['owned', 'identity', 'first', 'second', 'downward', 'invoices', 'taken', 'called']
const tables = { tenant: names, shared: ['countries'] }

/**
 * Draws a number from each table as the tenant in a new session and deletes the row. Fails if the
 * number was used before.
 */
async function draw (
  on: ManagerFixture,
  { url, schema, tenant }: { readonly url: string; readonly schema: string; readonly tenant?: string },
  given: Map<string, Set<string>>,
  t: Test,
  times = 1
): Promise<void> {
  const client = await connect(t, url)
  await client.query(`set search_path = "${schema}"`)
  for (const name of names) {
    const numbers = given.get(name) ?? new Set()
    given.set(name, numbers)
    for (let n = 0; n < times; n++) {
      const { rows: [row] } = await client.query<{ id: string }>(
        `insert into ${name} ${
          tenant === undefined ? 'default values' : '(tenant_id) values ($1)'
        } returning id::text as id`,
        tenant === undefined ? [] : [tenant]
      )
      const id = row?.id ?? ''
      t.notOk(numbers.has(id), `${name}: ${id} was never given before`)
      numbers.add(id)
      if (n % 2 === 0) await client.query(`delete from ${name} where id::text = $1`, [id])
    }
  }
  await client.end()
}

t.test('DAT-06 moved through every strategy and back, a tenant is never given a number twice', {
  buffered: true
}, async t => {
  const on = await managerFixture(t, { build, tables })
  const id = unique(on, 'a')
  await on.manager.create({ slug: 'acme', id })
  await on.manager.create({ slug: 'globex', id: 'globex-1' })
  const given = new Map<string, Set<string>>()
  const at = (isolation: string): Parameters<typeof draw>[1] => ({
    url: isolation === 'database' ? on.superUrl.replace(/\/[^/]*$/, `/tenant_${id}`) : on.superUrl,
    schema: isolation === 'schema' ? `tenant_${id}` : 'public',
    ...(isolation === 'rls' && { tenant: id })
  })
  await draw(on, at('rls'), given, t, 4)
  // Together with rows.test.ts, the daily run covers every pair of placements.
  const all = ['schema', 'database', 'rls', 'database', 'schema', 'rls'] as const
  for (const isolation of isLong ? all : all.slice(0, 3)) {
    await on.manager.move({ id }, { isolation })
    await draw(on, at(isolation), given, t, 3)
    await on.manager.confirmMove({ id })
  }
})

t.test('DAT-06 after an import into any placement no number is given twice', {
  buffered: true
}, async t => {
  const on = await managerFixture(t, { build, tables })
  const id = unique(on, 'a')
  await on.manager.create({ slug: 'acme', id, isolation: 'schema' })
  const given = new Map<string, Set<string>>()
  await draw(on, { url: on.superUrl, schema: `tenant_${id}` }, given, t, 5)
  const at = `${folder(t)}/export`
  await on.manager.export({ id }, { to: at })
  for (const isolation of ['schema', 'database', 'rls'] as const) {
    const other = unique(on, isolation)
    await on.manager.import(at, { slug: isolation, id: other, isolation })
    const place = isolation === 'database'
      ? { url: on.superUrl.replace(/\/[^/]*$/, `/tenant_${other}`), schema: 'public' }
      : { url: on.superUrl, schema: isolation === 'schema' ? `tenant_${other}` : 'public' }
    await draw(
      on,
      { ...place, ...(isolation === 'rls' && { tenant: other }) },
      new Map([...given].map(([name, numbers]) => [name, new Set(numbers)])),
      t,
      3
    )
  }
})

t.test(
  'DAT-06 numbers that sessions cached from a shared sequence are not given twice',
  { buffered: true },
  async t => {
    const on = await managerFixture(t, { build, tables })
    const id = unique(on, 'a')
    await on.manager.create({ slug: 'acme', id, isolation: 'schema' })
    await on.manager.create({ slug: 'globex', id: 'globex-1' })
    const session = await connect(t, on.superUrl)
    await session.query("insert into taken (tenant_id) values ('globex-1')")
    await on.admin(
      `insert into "tenant_${id}".taken select generate_series(1, 10); ` +
        `select setval('"tenant_${id}".cached', 10)`
    )
    await on.manager.move({ id }, { isolation: 'rls' })
    const { rows: [row] } = await session.query<{ id: string }>(
      'insert into taken (tenant_id) values ($1) returning id',
      [id]
    )
    t.ok(Number(row?.id) > 20, `${row?.id} is none of the numbers 2 to 20 that the session held`)
  }
)

for (const way of ['moved', 'imported'] as const) {
  t.test(`DAT-11 a huge id that is ${way} into shared tables moves no sequence: others go on inserting`, {
    buffered: true
  }, async t => {
    const on = await managerFixture(t, { build, tables })
    const id = unique(on, 'a')
    await on.manager.create({ slug: 'acme', id, isolation: 'schema' })
    await on.manager.create({ slug: 'globex', id: 'globex-1' })
    await on.admin(
      `insert into "tenant_${id}".owned values (2147483647), (7); ` +
        `select setval('"tenant_${id}".owned_id_seq', 7); insert into "tenant_${id}".downward ` +
        'values (-9223372036854775808)'
    )
    if (way === 'moved') await on.manager.move({ id }, { isolation: 'rls' })
    else {
      const at = `${folder(t)}/export`
      await on.manager.export({ id }, { to: at })
      await on.manager.import(at, { slug: 'copy', isolation: 'rls' })
    }
    t.same(await on.admin("insert into owned (tenant_id) values ('globex-1') returning id"), [{ id: 8 }])
    t.same(await on.admin("insert into downward (tenant_id) values ('globex-1') returning id"), [{
      id: '-1'
    }])
  })
}

t.test('DAT-06 a sequence that cannot be carried over is refused by name before any copy', {
  buffered: true
}, async t => {
  const on = await managerFixture(t, { build, tables })
  const id = unique(on, 'a')
  await on.manager.create({ slug: 'acme', id })
  await on.admin(
    `insert into owned (tenant_id) values ('${id}'); insert into downward (tenant_id) values ('${id}')`
  )
  const attempts: readonly [string, RegExp][] = [
    ['alter table owned alter id drop default',
      /sequence 'owned_id_seq' fills column 'id' of table 'owned', but no sequence fills it in the target/],
    [
      'alter table downward alter id drop default; drop sequence down; create sequence down; ' +
      "alter table downward alter id set default nextval('down')",
      /sequence 'down' counts in the opposite direction of 'down' in the target/
    ],
    ['alter sequence numbers maxvalue 1000', /sequence 'numbers' is at 1005, beyond the bounds/]
  ]
  await on.admin("select setval('numbers', 1005)")
  for (const [sql, message] of attempts) {
    const steps: string[] = []
    const other = on.another({
      provision: async ({ client }) => {
        await client.query(`${build(false)}; ${sql}`)
      },
      progress: ({ step }) => {
        steps.push(step)
      }
    })
    await t.rejects(other.move({ id }, { isolation: 'schema' }), { code: 'FST_TENANCY_MOVE_FAILED', message })
    t.notOk(steps.some(step => step.startsWith('rows')), 'nothing was copied')
    t.same(await on.admin("select from pg_namespace where nspname like 'tenant_%'"), [])
  }
  t.match(await on.manager.move({ id }, { isolation: 'schema' }), { isolation: 'schema' }, 'control')
})

const bare = (isShared: boolean): string =>
  `create sequence tickets; create table items (${
    isShared ? 'tenant_id text not null, ' : ''
  }id int not null, primary key (${isShared ? 'tenant_id, ' : ''}id))`

t.test(
  'DAT-06 a sequence that only the application calls goes along by its name, and is missed by its name',
  { buffered: true },
  async t => {
    const on = await managerFixture(t, { build: bare, tables: { tenant: ['items'], shared: ['countries'] } })
    const id = unique(on, 'a')
    await on.manager.create({ slug: 'acme', id, isolation: 'schema' })
    await on.admin(`select nextval('"tenant_${id}".tickets') from generate_series(1, 5)`)
    await on.manager.move({ id }, { isolation: 'database' })
    const there = await connect(t, on.superUrl.replace(/\/[^/]*$/, `/tenant_${id}`))
    t.same((await there.query("select nextval('tickets')::int as n")).rows, [{ n: 6 }])
    await on.manager.confirmMove({ id })
    const other = on.another({
      provision: async ({ client }) => {
        await client.query('create table items (id int primary key)')
      }
    })
    await t.rejects(other.move({ id }, { isolation: 'schema' }), {
      code: 'FST_TENANCY_MOVE_FAILED',
      message: /sequence 'tickets' is in use, but the target has none of this name/
    })
  }
)

t.test("LIF-14 an export of shared tables says of a sequence only how far the tenant's own ids go", {
  buffered: true
}, async t => {
  const on = await managerFixture(t, { build, tables })
  const id = unique(on, 'a')
  await on.manager.create({ slug: 'acme', id })
  await on.admin(
    `insert into owned (tenant_id) values ('${id}'), ('${id}'); ` +
      `insert into owned values ('${id}', 900000001); select setval('owned_id_seq', 800000000); ` +
      `select setval('numbers', 800000000)`
  )
  const at = `${folder(t)}/export`
  await on.manager.export({ id }, { to: at })
  const told = readFileSync(`${at}/objects.json`, 'utf8')
  t.notMatch(told, /00000000|900000001/)
  t.match((JSON.parse(told) as { sequences: unknown }).sequences, [{
    name: 'owned_id_seq',
    last: '2',
    fills: [{ table: 'owned', column: 'id' }]
  }])
})

const keyed = (isShared: boolean): string =>
  `create sequence back increment -1; create table items (${
    isShared ? 'tenant_id text not null, ' : ''
  }id int generated by default as identity primary key, back bigint not null default nextval('back') unique)`

for (const way of ['moved', 'imported'] as const) {
  t.test(
    `DAT-11 an id ahead of a shared sequence, in a key without the tenant, is refused: ${way}`,
    {
      buffered: true
    },
    async t => {
      const on = await managerFixture(t, {
        build: keyed,
        tables: { tenant: ['items'], shared: ['countries'] }
      })
      const id = unique(on, 'a')
      await on.manager.create({ slug: 'acme', id, isolation: 'schema' })
      await on.manager.create({ slug: 'globex', id: 'globex-1' })
      const own = `"tenant_${id}"`
      await on.admin(`insert into ${own}.items default values; insert into ${own}.items default values`)
      let count = 0
      const go = async (): Promise<unknown> => {
        if (way === 'moved') return on.manager.move({ id }, { isolation: 'rls' })
        const at = `${folder(t)}/export`
        await on.manager.export({ id }, { to: at })
        return on.manager.import(at, { slug: `copy-${++count}`, isolation: 'rls' })
      }
      for (
        const [wrong, right, named] of [
          ['update ITEMS set id = 2147483647 where id = 2', 'update ITEMS set id = 2 where id = 2147483647',
            new RegExp(
              "column 'id' of table 'items' has the id 2147483647, ahead of sequence " +
                "'items_id_seq', whose next number will be 3"
            )],
          ['update ITEMS set id = 3 where id = 2', 'update ITEMS set id = 2 where id = 3',
            /has the id 3, ahead/],
          ['update ITEMS set back = -3 where id = 2', 'update ITEMS set back = -2 where id = 2',
            /'back'.*has the id -3/]
        ] as const
      ) {
        await on.admin(wrong.replace('ITEMS', `${own}.items`))
        await t.rejects(go(), {
          code: way === 'moved' ? 'FST_TENANCY_MOVE_FAILED' : 'FST_TENANCY_IMPORT_REFUSED',
          message: named
        })
        t.same(await on.admin('select * from items'), [], 'nothing came')
        await on.admin(right.replace('ITEMS', `${own}.items`))
      }
      await on.admin(`update ${own}.items set id = -2147483648 where id = 1`)
      await go()
      t.same(
        await on.admin("insert into items (tenant_id) values ('globex-1') returning id, back::int"),
        [{ id: 3, back: -3 }],
        'control: what the sequence has passed goes along, and others go on'
      )
    }
  )
}
