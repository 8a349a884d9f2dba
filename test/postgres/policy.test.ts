import type { SqlClient } from '@fastify-tenancy/postgres/client'
import { signingKey, signToken } from '@fastify-tenancy/postgres/context-token'
import { init } from '@fastify-tenancy/postgres/install'
import { protect } from '@fastify-tenancy/postgres/policies'
import type { ResolvedTables } from '@fastify-tenancy/postgres/tables'
import t, { type Test } from 'tap'

import { asTenant, engines, rolesAt } from '../support/sql.ts'

const secret = 'a secret of the tests that is long enough'
const key = signingKey(secret)

/** A tenant column's type, with two ids of that type. */
const types = {
  text: ['acme', 'globex'],
  uuid: ['0190f2a4-0000-7000-8000-00000000000a', '0190f2a4-0000-7000-8000-00000000000b'],
  int: ['1', '2'],
  bigint: ['9000000001', '9000000002']
} as const
const typeNames = Object.keys(types) as (keyof typeof types)[]

const tables: ResolvedTables = {
  tenant: Object.fromEntries(typeNames.map(type => [`notes_${type}`, 'tenant_id'])),
  shared: ['countries'],
  global: ['users'],
  schema: 'public'
}

for (const [engine, open] of engines) {
  t.test(engine, async t => {
    const client = await open(t)
    await init(client, { signingSecrets: [secret] })
    await client.query(
      `create table countries (code text primary key); insert into countries
        values ('de'); create table users (id serial primary key,
        name text); create table forgotten (v text); insert into forgotten values ('acme:0')`
    )
    for (const type of typeNames) {
      await client.query(
        `create table notes_${type} (id serial primary key, tenant_id ${type} not null, v text not null,
          unique (tenant_id, v))`
      )
      for (const tenant of types[type])
        await client.query(
          `insert into notes_${type} (tenant_id, v) select '${tenant}', '${tenant}:' || n
            from generate_series(1, 3) n`
        )
    }
    for (const signed of [false, true]) {
      await t.test(signed ? 'signed' : 'plain', async t => policies(t, client, signed))
    }
  })
}

async function policies (t: Test, client: SqlClient, signed: boolean): Promise<void> {
  await protect(client, { tables, signed })
  const as = <T>(tenant: string | undefined, work: () => Promise<T>): Promise<T> =>
    asTenant(client, tenant, work, signed ? key : undefined)
  const rows = async (text: string, values?: unknown[]): Promise<unknown[]> =>
    (await client.query<Record<string, unknown>>(text, values)).rows.map(row => Object.values(row)[0])

  for (const type of typeNames) {
    const [a, b] = types[type]
    const table = `notes_${type}`

    await t.test(`${type}: RLS-12 each statement reaches the tenant's own rows and no other`, async t => {
      const own = [`${a}:1`, `${a}:2`, `${a}:3`]
      t.same(await as(a, () => rows(`select v from ${table} order by v`)), own)
      t.same(await as(a, () => rows(`update ${table} set v = v || '!' returning v`)), own.map(v => `${v}!`))
      t.same(await as(a, () => rows(`delete from ${table} returning v`)), own)
      t.same(await as(a, () => rows(`insert into ${table} (v) values ('new') returning tenant_id::text`)), [
        a
      ], 'the column is filled from the context')
      t.same(
        await as(
          a,
          () => rows(`insert into ${table} (tenant_id, v) values ('${a}', 'new') returning tenant_id::text`)
        ),
        [a]
      )
      t.same(
        await as(a, () =>
          rows(
            `insert into ${table} (v) values ('${a}:1') on conflict (tenant_id, v) do update
              set v = excluded.v || '?' returning v`
          )),
        [`${a}:1?`]
      )
      await t.rejects(
        as(a, () => client.query(`insert into ${table} (tenant_id, v) values ('${b}', 'planted')`)),
        { code: '42501' }
      )
      await t.rejects(as(a, () => client.query(`update ${table} set tenant_id = '${b}'`)), { code: '42501' })
      await t.rejects(
        as(a, () =>
          client.query(
            `insert into ${table} (tenant_id, v)
              values ('${b}', '${b}:1') on conflict (tenant_id, v) do update set v = 'taken'`
          )),
        { code: '42501' }
      )
      // MERGE matches only the tenant's own rows: b's row is not matched, so it is inserted as a's.
      const merged = await as(a, async () => {
        await client.query(
          `merge into ${table} t using (values ('${a}:1'), ('${b}:1')) s (v) on t.v = s.v
            when matched then update set v = t.v || '+' when not matched then insert (v) values (s.v)`
        )
        return rows(`select tenant_id || '>' || v from ${table} order by v`)
      })
      t.same(merged, [`${a}>${a}:1+`, `${a}>${a}:2`, `${a}>${a}:3`, `${a}>${b}:1`])
      t.same(await rows(`select count(*)::int from ${table}`), [6], 'nothing was left behind')
    })

    await t.test(`${type}: RLS-01 RLS-02 without a tenant there are no rows and no writes`, async t => {
      for (const before of ['', `begin; select set_config('tenancy.tenant', '${a}', true); commit; `]) {
        if (before !== '') await client.query(before)
        const seen = await as(undefined, () => rows(`select v from ${table}`)).catch((
          error: { code?: string }
        ) => error.code)
        t.ok(signed && seen === 'TN401' || Array.isArray(seen) && seen.length === 0, String(seen))
        for (
          const write of [`insert into ${table} (v) values ('x')`,
            `insert into ${table} (tenant_id, v) values ('${a}', 'x')`]
        ) {
          await t.rejects(as(undefined, () => client.query(write)), { code: /42501|TN401|23502/ })
        }
      }
    })
  }

  const outcome = signed ? 'shows no row of another tenant' : 'shows rows if nothing is signed'
  await t.test(`INJ-03 INJ-04 INJ-06 an injected set_config ${outcome}`, async t => {
    const injected: readonly string[] = [
      "select set_config('tenancy.tenant', 'globex', true) union all select v from notes_text",
      `with moved as materialized (select set_config('tenancy.tenant', 'globex', true)) select v
        from moved, lateral (select v from notes_text offset 0) n`,
      `select n.v from (select set_config('tenancy.tenant', 'globex', true) as s offset 0) s
        cross join lateral (select v || substr(s.s, 1, 0) as v from notes_text) n`,
      `select (query_to_xml('select v from notes_text', true, false, ''))::text
        from (select set_config('tenancy.tenant', 'globex', true) offset 0) s`,
      `select v from notes_text
        where v = 'acme:1' or set_config('tenancy.tenant', 'globex', true) is not null`,
      `select (select string_agg(v, ',') from notes_text n where n.id > o.id - 1000000)
        from notes_text o where set_config('tenancy.tenant', 'globex', true) = 'globex'`
    ]
    for (const scan of ['enable_seqscan', 'enable_indexscan']) {
      let leaks = 0
      for (const text of injected) {
        const seen = await as('acme', async () => {
          await client.query(`set local ${scan} = off; set local enable_bitmapscan = off`)
          return rows(text)
        })
        if (/globex:/.test(JSON.stringify(seen))) leaks++
      }
      if (signed) t.equal(leaks, 0, `${scan} off`)
      else t.ok(leaks >= 3, `the control: ${leaks} of ${injected.length} leak with ${scan} off`)
    }
    const write = as(
      'acme',
      () =>
        client.query(
          `insert into notes_text (tenant_id, v) select set_config('tenancy.tenant', 'globex', true),
            'planted'`
        )
    )
    if (signed) await t.rejects(write, { code: '42501' })
    else await t.resolves(write)
  })

  await t.test('INJ-21 a changed setting affects the next statement only without signatures', async t => {
    const seen = await as('acme', async () => {
      await client.query("select set_config('tenancy.tenant', 'globex', true)")
      return rows('select v from notes_text')
    })
    t.same(seen, signed ? [] : ['globex:1', 'globex:2', 'globex:3'])
  })

  if (signed) {
    await t.test('INJ-10 a forged token put in by the statement itself is an error', async t => {
      const forged = signToken({ key: signingKey('x'.repeat(32)), tenant: 'globex' })
      for (
        const text of [
          `select set_config('tenancy.token', '${forged}', true),
            set_config('tenancy.tenant', 'globex', true) union all select v, v from notes_text`,
          `select v from (select set_config('tenancy.token', '', true) offset 0) s, lateral (select v
            from notes_text offset 0) n`
        ]
      ) {
        await t.rejects(as('acme', () => client.query(text)), { code: 'TN401' })
      }
    })
  }

  if (signed) {
    await t.test('INJ-10 a missing, expired or foreign token never looks like an empty account', async t => {
      const expired = signToken({ key, tenant: 'acme', now: 0 })
      for (const token of ['', expired, signToken({ key: signingKey('x'.repeat(32)), tenant: 'acme' })]) {
        for (
          const text of ['select v from notes_text', 'select count(*) from notes_text',
            'update notes_text set v = v', 'delete from notes_text',
            "insert into notes_text (v) values ('x')", 'select exists (select from notes_text)']
        ) {
          for (const scan of ['enable_seqscan', 'enable_indexscan']) {
            await t.rejects(
              as('acme', async () => {
                await client.query(
                  "select set_config('tenancy.token', $1, true), set_config($2, 'off', true)",
                  [token, scan]
                )
                return rows(text)
              }),
              { code: 'TN401' },
              text
            )
          }
        }
      }
    })
  }

  await t.test('INJ-12 row_security off is an error, not a way round', async t => {
    await t.rejects(
      as('acme', async () => {
        await client.query('set local row_security = off')
        return rows('select v from notes_text')
      }),
      { code: '42501' }
    )
  })

  await t.test('shared tables are readable, other tables are refused, and TRUNCATE is too', async t => {
    t.same(await as('acme', () => rows('select code from countries')), ['de'])
    for (
      const text of ["insert into countries values ('fr')", 'delete from countries', 'select * from users',
        'select * from forgotten', 'truncate notes_text', 'alter table notes_text disable row level security',
        'drop policy tenancy_tenant on notes_text', 'create table mine (x int)',
        'create table other (x int references notes_text (id))', "select setval('notes_text_id_seq', 1)"]
    ) {
      await t.rejects(as('acme', () => client.query(text)), { code: '42501' }, text)
    }
    await client.query(`set role "${(await rolesAt(client)).global}"`)
    await client.query("insert into users (name) values ('ann')")
    await t.rejects(client.query('select v from notes_text'), { code: '42501' })
    await client.query('reset role')
  })

  await t.test('the owner and the system see all rows under FORCE, without a context', async t => {
    const { owner, system } = await rolesAt(client)
    for (const role of [owner, system]) {
      await client.query(`set role "${role}"`)
      t.same(await rows('select count(*)::int from notes_uuid'), [6])
      t.equal((await client.query('update notes_uuid set v = v')).rowCount, 6)
      await client.query('reset role')
    }
  })

  await t.test('a second protect does no harm, and the other mode replaces the policies', async t => {
    const policies = `select string_agg(polrelid::regclass || polname || pg_get_expr(polqual, polrelid)
        || pg_get_expr(polwithcheck, polrelid), ';' order by polrelid, polname) from pg_policy`
    const before = await rows(policies)
    await protect(client, { tables, signed })
    t.same(await rows(policies), before)
    t.same(
      await rows("select count(*)::int from pg_indexes where tablename = 'notes_text'"),
      [2],
      'the unique key leads with the tenant column: no index is added'
    )
    await protect(client, { tables, signed: !signed })
    t.not(await rows(policies), before)
  })
}
