import type { SqlClient } from '@fastify-tenancy/postgres/client'
import { signingKey, signToken } from '@fastify-tenancy/postgres/context-token'
import { init } from '@fastify-tenancy/postgres/install'
import { protect } from '@fastify-tenancy/postgres/policies'
import { rolesOf } from '@fastify-tenancy/postgres/roles'
import t from 'tap'

import { freshDatabase } from '../support/fresh.ts'
import { connect, databaseOf } from '../support/sql.ts'
import { until } from '../support/until.ts'

const secret = 'a secret of the tests that is long enough'
const key = signingKey(secret)

/** A tenant column's type, with the ids of a large and of a small tenant. */
const types = {
  text: ['acme', 'globex'],
  uuid: ['0190f2a4-0000-7000-8000-00000000000a', '0190f2a4-0000-7000-8000-00000000000b'],
  int: ['1', '2'],
  bigint: ['9000000001', '9000000002']
} as const
const typeNames = Object.keys(types) as (keyof typeof types)[]
const tenant = Object.fromEntries(typeNames.map(type => [`notes_${type}`, 'tenant_id']))

t.test("PLN-01 policies use index and tenant's statistics, and verify once per table", async t => {
  const url = await freshDatabase(t)
  const client = await connect(t, url)
  await init(client, { signingSecrets: [secret] })
  for (const type of typeNames) {
    const [large, small] = types[type]
    await client.query(
      `create table notes_${type} (id bigint generated always as identity primary key,
        tenant_id ${type} not null, v text not null);
      insert into notes_${type} (tenant_id, v) select '${large}', 'v' || n from generate_series(1, 40000) n;
      insert into notes_${type} (tenant_id, v) select '${small}', 'v' || n from generate_series(1, 5) n;
      create index on notes_${type} (tenant_id); analyze notes_${type}`
    )
  }
  const { app } = rolesOf(databaseOf(url))
  for (const signed of [false, true]) {
    await protect(client, { tables: { tenant, shared: [], global: [], schema: 'public' }, signed })
    for (const type of typeNames) {
      for (const [tenant, count] of [[types[type][0], 40_000], [types[type][1], 5]] as const) {
        await client.query('begin')
        await client.query(
          `select set_config('role', $1, true), set_config('tenancy.tenant', $2, true),
            set_config('tenancy.token', $3, true), set_config('plan_cache_mode', 'force_custom_plan', true)`,
          [app, tenant, signToken({ key, tenant })]
        )
        const { rows } = await client.query<{ 'QUERY PLAN': string }>({
          name: `plan_${type}_${signed}`,
          text: `explain (analyze, timing off, buffers off) select v from notes_${type} where id > $1`,
          values: [0]
        })
        await client.query('rollback')
        const plan = rows.map(row => row['QUERY PLAN']).join('\n')
        const label = `${type}, ${signed ? 'signed' : 'plain'}, ${count} rows`
        if (count === 5)
          t.match(
            plan,
            new RegExp(`Index Scan using notes_${type}_tenant_id_idx[^]*Index Cond: \\(\\(?tenant_id = `),
            label
          )
        const estimate = Number(
          /^(?:Gather|Seq Scan|Index Scan|Bitmap Heap Scan).*? rows=(\d+) /.exec(plan)?.[1]
        )
        t.ok(
          count === 5 ? estimate >= 1 && estimate <= 100 : estimate > 30_000 && estimate < 45_000,
          `${label}: estimated ${estimate}`
        )
        const verifications = [...plan.matchAll(/InitPlan \d[^]*?Result .*?\(actual.* loops=(\d+)\)/g)].map(
          match => match[1]
        )
        t.same(verifications, signed ? ['1'] : [], `${label}: verified once`)
        if (!/InitPlan|Index Scan|Seq Scan/.test(plan)) t.fail(plan)
      }
    }
  }
})

t.test('INJ-24 a token that expires within a transaction serves it to its end', async t => {
  const url = await freshDatabase(t)
  const [long, other] = [await connect(t, url), await connect(t, url)]
  await init(long, { signingSecrets: [secret] })
  const { app } = rolesOf(databaseOf(url))
  // 60 s of lifetime and 30 s of skew end in half a second.
  const token = signToken({ key, tenant: 'acme', now: Date.now() - 89_500 })
  const set = async (client: SqlClient): Promise<void> => {
    await client.query("select set_config('role', $1, true), set_config('tenancy.token', $2, true)", [app,
      token])
  }
  await long.query('begin')
  await set(long)
  await long.query('select tenancy.verified_tenant()')
  const refusal = await until(async () => {
    await other.query('begin')
    await set(other)
    const error = await other.query('select tenancy.verified_tenant()').then(
      () => undefined,
      (error: Error) => error
    )
    await other.query('rollback')
    return error
  })
  t.match(refusal, { code: 'TN401', message: /expired/ })
  t.same((await long.query('select tenancy.verified_tenant() as tenant')).rows, [{ tenant: 'acme' }])
})

t.test('signed policies leave plans parallel, with a token that is bound to its backend', async t => {
  const url = await freshDatabase(t)
  const client = await connect(t, url)
  await init(client, { signingSecrets: [secret] })
  await client.query(
    `create table notes_text (id int, tenant_id text not null, v text); insert into notes_text select n,
      'acme', 'acme:' || n from generate_series(1, 5000) n; analyze notes_text`
  )
  await protect(client, {
    tables: { tenant: { notes_text: 'tenant_id' }, shared: [], global: [], schema: 'public' },
    signed: true
  })
  const { rows: [backend] } = await client.query<{ pid: number }>('select pg_backend_pid() as pid')
  await client.query('begin')
  await client.query(
    `select set_config('role', $1, true), set_config('tenancy.tenant', 'acme', true),
      set_config('tenancy.token', $2, true)`,
    [rolesOf(databaseOf(url)).app, signToken({ key, tenant: 'acme', pid: backend?.pid ?? -1 })]
  )
  await client.query(
    `set local parallel_setup_cost = 0; set local parallel_tuple_cost = 0;
      set local min_parallel_table_scan_size = 0; set local max_parallel_workers_per_gather = 4;
      set local parallel_leader_participation = off`
  )
  const { rows } = await client.query<{ 'QUERY PLAN': string }>(
    'explain (costs off) select count(*) from notes_text'
  )
  t.match(rows.map(row => row['QUERY PLAN']).join('\n'), /Parallel Seq Scan/)
  for (
    const text of ['select count(*)::int as n from notes_text',
      'select count(*)::int as n from notes_text o join (select * from notes_text offset 0) i using (id)',
      `select count(*)::int as n
        from (select id from notes_text where id % 2 = 0 union all select id
        from (select id from notes_text offset 0) i where id % 2 = 1) u`]
  ) {
    t.same((await client.query(text)).rows, [{ n: 5000 }])
  }
  await client.query('rollback')
})
