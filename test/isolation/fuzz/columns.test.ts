// Random queries with functions in FROM and hostile names in the place of columns. PostgreSQL's
// parser is the judge.
import { DummyDriver, Kysely, PostgresAdapter, PostgresIntrospector, PostgresQueryCompiler,
  type QueryCompiler } from 'kysely'
import { randomBytes, randomInt } from 'node:crypto'
import pg from 'pg'
import t from 'tap'

import { RowCompiler } from '../../../packages/database/src/compilers/row-compiler.ts'
import { ConnectionPool } from '../../../packages/database/src/connection/pool.ts'
import { HarmlessCatalog } from '../../../packages/database/src/harmless/catalog.ts'
import { JudgingCompiler } from '../../../packages/database/src/harmless/judging-compiler.ts'
import { QueryRefusedError } from '../../../packages/database/src/options/errors.ts'
import { defaultFunctions } from '../../../packages/database/src/rewrite/functions.ts'
import { grammar } from '../../../packages/database/src/rewrite/rewrite.ts'
import { rootScope } from '../../../packages/database/src/rewrite/scope.ts'
import { tenantValue } from '../../../packages/database/src/rewrite/tenant-value.ts'
import { freshDatabase } from '../../support/fresh.ts'
import { isLong } from '../../support/long.ts'
import { connect } from '../../support/sql.ts'
import { callInDisguise } from './column-oracle.ts'
import { rowTables, schemaSql, tenants } from './schema.ts'
import { plan } from './statements.ts'

// Each day draws another seed.
const queries = isLong ? 3_000 : 900
t.setTimeout(150_000)

const hostile = ['pg_read_file', 'ts_stat', 'peek', 'any_row', 'text', 'lower', 'query_to_xml', 'id', 'title',
  'c0']

t.test(`CON-10, CON-23: of ${queries} random queries exactly those without a column are stopped`, async t => {
  const url = await freshDatabase(t)
  const role = `fuzz_${randomBytes(6).toString('hex')}`
  const client = await connect(t, url)
  t.teardown(() => client.query(`drop owned by ${role}; drop role ${role}`))
  await client.query(schemaSql(role))
  await client.query(
    "create function peek (notes) returns text language sql as 'select $1.title'; " +
      "create function any_row (anyelement) returns text language sql as 'select 1::text'"
  )
  const { rows } = await client.query<{ table: string; columns: string[] }>(`
    select relname::text as table, array_agg(attname::text) as columns from pg_class join pg_attribute on
      attrelid = pg_class.oid
    where relnamespace = 'public'::regnamespace and relkind = 'r' group by relname`)
  const tables = Object.fromEntries(rows.map(({ table, columns }) => [table, columns]))
  const pool = new ConnectionPool(new pg.Pool({ connectionString: url, max: 1 }), true, {
    types: undefined,
    reset: 'auto'
  }, { share: 1, spare: 0, maxWaiting: 10, maxWait: 5_000 })
  t.teardown(() => pool.close())
  const policies = new Set(
    (await client.query<{ oid: string }>('select oid::text from pg_policy')).rows.map(({ oid }) => oid)
  )
  const catalog = new HarmlessCatalog(pool, {
    schema: 'public',
    tables: () => undefined,
    ownPolicies: async () => policies,
    functions: [],
    others: () => [],
    hasEpoch: () => false
  })
  await catalog.refresh()
  const judging = new JudgingCompiler(() => catalog.judge)
  const seed = randomInt(2 ** 31)
  const problems: string[] = []
  let calls = 0
  for (let index = 0; index < queries; index++) {
    const tenant = tenants[index % tenants.length] ?? tenants[0]
    const { build } = plan(seed + index, tenant, 15, new Set(), hostile)
    const { sql } = build(on(new PostgresQueryCompiler())).compile()
    const call = callInDisguise(sql, tables)
    if (call !== undefined) calls++
    const rewriting = new RowCompiler(
      rootScope({
        tenant: tenantValue(tenant),
        tables: rowTables,
        functions: new Set(defaultFunctions),
        grammar
      }),
      catalog.judge
    )
    const isRefused = attempt(() => build(on(rewriting)).compile()) === undefined
    const compiled = attempt(() => build(on(judging)).compile())
    const isHarmless = compiled !== undefined && judging.isHarmless(compiled)
    if (isRefused !== (call !== undefined))
      problems.push(
        `seed ${seed + index}: row ${isRefused ? 'refuses' : 'lets through'}, the parser says ${
          call ?? 'columns only'
        }: ${sql}`
      )
    if (isHarmless !== (call === undefined))
      problems.push(
        `seed ${seed + index}: ${isHarmless ? 'harmless' : 'not harmless'}, the parser says ${
          call ?? 'columns only'
        }: ${sql}`
      )
  }
  t.same(problems.slice(0, 3), [], `${problems.length} problems`)
  t.ok(calls > queries * 0.05, `${calls} queries name something else than a column`)
})

function on (compiler: QueryCompiler): Kysely<unknown> {
  return new Kysely({
    dialect: {
      createDriver: () => new DummyDriver(),
      createAdapter: () => new PostgresAdapter(),
      createIntrospector: db => new PostgresIntrospector(db),
      createQueryCompiler: () => compiler
    }
  })
}

function attempt<T> (work: () => T): T | undefined {
  try {
    return work()
  } catch (error) {
    if (error instanceof QueryRefusedError) return undefined
    throw error
  }
}
