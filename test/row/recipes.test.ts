// Kysely's documented examples, unchanged: a row handle gives what forced policies give, or the
// example is on the list below.
import { toTenant, memoryRegistry } from '@fastify-tenancy/core'
import { TenantScope } from '@fastify-tenancy/core/scope'
import { openDatabase } from '@fastify-tenancy/database'
import { resolveDatabaseOptions } from '@fastify-tenancy/database/options'
import { Kysely, PostgresDialect, type KyselyPlugin } from 'kysely'
import { randomBytes } from 'node:crypto'
import pg from 'pg'
import t, { type Test } from 'tap'

import { freshDatabase } from '../support/fresh.ts'
import { connect } from '../support/sql.ts'
import { recipes } from './recipes.ts'

/** Examples that strategy row refuses, by what is in their code, and why. */
const refusals: readonly (readonly [RegExp, string])[] = [
  [/\bsql(?:<[^`]*>)?`|sql\.raw|sql\.table|sql\.id|sql\.join/,
    'raw SQL: the tables that it reads cannot be seen'],
  [/withSchema\('(?!public)|selectFrom\('\w+\.\w+'\)|'(?:some_schema|mammals|admin)\b/,
    'another schema than that of the tables'],
  [/\.explain\(/, 'no statement on rows'],
  [
    new RegExp(
      [
        /replaceInto|\.ignore\(|\.or(?:Ignore|Abort|Fail|Replace|Rollback)\(|\.top\(|\.output/,
        /onDuplicateKey|crossApply|outerApply|modifyEnd|modifyFront/
      ].map(({ source }) => source).join('|')
    ),
    'what only other databases have, or raw SQL at the end'
  ],
  [/db\.schema|introspection/, 'tables are changed in migrations']
]

const data = `
  create table person (tenant_id text not null default nullif(current_setting('tenancy.tenant', true),
    ''), id serial, first_name text, middle_name text, last_name text, age int, gender text,
      marital_status text,
    address jsonb, experience jsonb, profile jsonb, nicknames text[], is_developer bool default false,
      has_pets text default 'N', children int default 0, deleted_at timestamptz, created_at timestamptz,
        primary key (tenant_id, id));
  create table pet (tenant_id text not null default nullif(current_setting('tenancy.tenant', true), ''),
    id serial, name text, owner_id int, species text, is_favorite bool default false, primary key
      (tenant_id, id));
  create table toy (tenant_id text not null default nullif(current_setting('tenancy.tenant', true), ''),
    id serial, name text, pet_id int, price float8 default 1, primary key (tenant_id, id));
  create unique index on pet (tenant_id, name)`

const rows = `
  delete from person; delete from pet; delete from toy;
  select setval('person_id_seq', 1, false), setval('pet_id_seq', 1, false), setval('toy_id_seq', 1, false);
  insert into person (tenant_id, first_name, last_name, age, gender, marital_status, address, nicknames)
    select tenant, (array['Jennifer', 'Arnold', 'Sylvester'])[i] || case tenant when 'acme' then '' else
      ' of ' || tenant end, (array['Aniston', 'Schwarzenegger', 'Stallone'])[i], 15 + 10 * i, 'other',
        'single',
      jsonb_build_object('city', tenant), array[tenant, 'Jen'] from unnest(array['acme', 'globex'])
        tenant, generate_series(1, 3) i;
  insert into pet (tenant_id, name, owner_id, species) select tenant, tenant || ' pet ' || i, 1 + i % 3,
    (array['cat', 'dog', 'hamster'])[i] from unnest(array['acme', 'globex']) tenant, generate_series(1, 3) i;
  insert into toy (tenant_id, name, pet_id) select tenant, tenant || ' toy ' || i, i from
    unnest(array['acme', 'globex']) tenant, generate_series(1, 3) i`

/** Collects the rows of every query, whatever the example does with them. */
class Collector implements KyselyPlugin {
  readonly seen: string[] = []
  transformQuery: KyselyPlugin['transformQuery'] = ({ node }) => node
  transformResult: KyselyPlugin['transformResult'] = async ({ result }) => {
    this.seen.push(JSON.stringify([result.rows, String(result.numAffectedRows ?? '')]))
    return result
  }
}

async function databases (
  t: Test
): Promise<{ admin: pg.Client; byPolicy: Kysely<unknown>; byRow: Kysely<unknown> }> {
  const url = await freshDatabase(t)
  const admin = await connect(t, url)
  const login = new URL(url)
  login.username = `recipes_${randomBytes(6).toString('hex')}`
  login.password = 'recipes'
  await admin.query(`${data}; ${rows};
    create role ${login.username} login password 'recipes';
    grant all on all tables in schema public to ${login.username};
    grant all on all sequences in schema public to ${login.username}`)
  for (const table of ['person', 'pet', 'toy']) {
    await admin.query(
      `alter table ${table} enable row level security, force row level security;
        create policy p on ${table} using (tenant_id = current_setting('tenancy.tenant'))`
    )
  }
  // An example may leave a transaction open: that must not hold the next one up.
  const pool = new pg.Pool({
    connectionString: login.href,
    options: '-c tenancy.tenant=acme -c idle_in_transaction_session_timeout=1000'
  })
  pool.on('error', () => {})
  pool.on('connect', client => {
    client.on('error', () => {})
  })
  const byPolicy = new Kysely<unknown>({ dialect: new PostgresDialect({ pool }) })
  const database = openDatabase(
    resolveDatabaseOptions({
      database: { url, idleInTransaction: '1s' },
      isolation: 'row',
      tables: { tenant: ['person', 'pet', 'toy'] },
      registry: memoryRegistry([])
    })
  )
  await database.boot()
  const scope = new TenantScope(toTenant({ id: 'acme', slug: 'acme' }), {
    info () {},
    warn () {},
    error () {}
  })
  t.teardown(async () => {
    scope.abort()
    await database.close()
    // Not awaited: an example that leaves a transaction open never gives its connection back.
    void pool.end()
    await admin.query('select pg_terminate_backend(pid) from pg_stat_activity where usename = $1', [
      login.username
    ])
    await admin.query(`drop owned by ${login.username}; drop role ${login.username}`)
  })
  return { admin, byPolicy, byRow: database.forScope(scope) as unknown as Kysely<unknown> }
}

t.test("Kysely's documented examples equal forced policies, or are listed as refused", async t => {
  const { admin, byPolicy, byRow } = await databases(t)
  const counts = { equal: 0, refused: 0, failed: 0 }
  const run = async (
    db: Kysely<unknown>,
    writes: boolean,
    example: (db: unknown) => Promise<unknown>
  ): Promise<
    { seen: readonly string[]; tables: string; error: { code?: string; message: string } | undefined }
  > => {
    const collector = new Collector()
    const error = await example(db.withPlugin(collector)).then(
      () => undefined,
      (caught: unknown) => caught as { message: string }
    )
    if (!writes) return { seen: collector.seen, tables: '', error }
    const { rows: [tables] } = await admin.query(
      'select (select json_agg(person order by tenant_id, id) from person) as a, (select ' +
        'json_agg(pet order by tenant_id, id) from pet) as b, (select json_agg(toy order by ' +
        'tenant_id, id) from toy) as c'
    )
    await admin.query(rows)
    return { seen: collector.seen, tables: JSON.stringify(tables), error }
  }
  for (const { name, code, run: example } of recipes()) {
    const writes = /insert|update|delete|merge/i.test(code)
    const expected = await run(byPolicy, writes, example)
    const actual = await run(byRow, writes, example)
    if (actual.error?.code === 'FST_TENANCY_QUERY_REFUSED') {
      // What has no table here fails without the rewriting too.
      if (expected.error !== undefined) counts.failed++
      else counts.refused++
      t.ok(
        expected.error !== undefined || refusals.some(([pattern]) => pattern.test(code)),
        `${name} is refused: ${actual.error.message}\n${code}`
      )
    } else if (expected.error === undefined) {
      counts.equal++
      t.same(actual, expected, `${name}\n${code}`)
    } else {
      counts.failed++
    }
  }
  t.comment(counts)
  t.ok(
    counts.equal >= 100,
    `${counts.equal} ran alike, ${counts.refused} are on the list, ` +
      `${counts.failed} need tables or another database`
  )
})
