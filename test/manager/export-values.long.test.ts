import fc from 'fast-check'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'

import { fork } from 'node:child_process'
import { once } from 'node:events'
import { connect } from '../support/sql.ts'
import { contents, folder, managerFixture, unique } from './manager-fixture.ts'

/** Values as PostgreSQL reads them, by type. Any value that it accepts may be in a table. */
const text = fc.string({
  unit: fc.oneof(
    fc.constantFrom(
      '\n',
      '\r',
      '\t',
      '"',
      '\\',
      "'",
      ',',
      '{',
      '}',
      '\u0001',
      '\u0002',
      '\u007f',
      '\u0085',
      '\u2028',
      '😀',
      ' '
    ),
    fc.string({ minLength: 1, maxLength: 1 })
  ),
  maxLength: 12
}).filter(value => !value.includes('\0') && value.isWellFormed())
const json = fc.json({ maxDepth: 3 }).filter(value => !value.includes('\\u0000') && value.isWellFormed())
const date = fc.date({ min: new Date('1700-01-01'), max: new Date('9000-01-01'), noInvalidDate: true }).map(
  value => value.toISOString()
)
const micros = fc.tuple(date, fc.integer({ min: 0, max: 999_999 })).map(([day, part]) =>
  `${day.slice(0, 19)}.${String(part).padStart(6, '0')}`
)
const quoted = (value: string): string => `"${value.replaceAll('\\', '\\\\').replaceAll('"', '\\"')}"`

const types: Record<string, fc.Arbitrary<string>> = {
  'numeric': fc.oneof(
    fc.constantFrom(
      'NaN',
      '0.10',
      '-0.000',
      '1e30',
      '12345678901234567890123456789.123456789012345678901234567890'
    ),
    fc.tuple(fc.bigInt(), fc.nat({ max: 999 })).map(([n, m]) => `${n}.${m}`)
  ),
  'numeric(12,4)': fc.constantFrom('1.1000', '-99999999.9999', '0'),
  'bigint': fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }).map(String),
  'float8': fc.oneof(
    fc.constantFrom('NaN', 'Infinity', '-Infinity', '-0', '5e-324', '0.1'),
    fc.double({ noNaN: true }).map(String)
  ),
  'real': fc.oneof(
    fc.constantFrom('NaN', '3.4028235e38', '0.1', '-0'),
    fc.float({ noNaN: true }).map(String)
  ),
  'timestamptz': fc.oneof(
    fc.constantFrom('infinity', '-infinity', '0044-03-15 12:00:00.000001+00 BC', '2026-03-29 02:30:00+02'),
    micros.map(value => `${value}+00`)
  ),
  'timestamp': fc.oneof(fc.constant('infinity'), micros),
  'date': fc.constantFrom('-infinity', '0044-03-15 BC', '2026-02-28', '5874897-12-31'),
  'timetz': fc.constantFrom('24:00:00-15:59', '01:02:03.000004+05:45'),
  'interval': fc.constantFrom(
    '-1 year 2 mons -3 days 04:05:06.000007',
    '178000000 years',
    '0',
    '-00:00:00.000001'
  ),
  'bytea': fc.uint8Array({ maxLength: 20 }).map(bytes => `\\x${Buffer.from(bytes).toString('hex')}`),
  'boolean': fc.constantFrom('t', 'f'),
  'json': fc.oneof(json, fc.constantFrom('{"a":  1,\n "a": 2}', 'null', ' 1.0e400 ', '"\\ud83d\\ude00"')),
  'jsonb': fc.oneof(json, fc.constantFrom('null', '123456789012345678901234567890.1230', '1e400')),
  'text': fc.oneof(text, fc.constantFrom('', 'null', 'NULL', '\\.', '\\N')),
  'varchar(40)': text,
  'char(14)': text.map(value => [...value].slice(0, 12).join('')),
  'bpchar': fc.constantFrom('', ' ', 'a  ', '   a'),
  '"char"': fc.constantFrom('a', '', '\\'),
  'name': fc.constantFrom('', 'x', 'ü'.repeat(31)),
  'uuid': fc.uuid(),
  'inet': fc.constantFrom('10.0.0.1', '10.0.0.1/8', '::1', 'fe80::/10'),
  'cidr': fc.constantFrom('10.0.0.0/8', '::/0'),
  'macaddr8': fc.constantFrom('08:00:2b:01:02:03:04:05'),
  'bit(5)': fc.constantFrom('10101', '00000'),
  'bit varying': fc.constantFrom('', '1', '0001'),
  'money': fc.constantFrom('$1.00', '-$92,233,720,368,547,758.08'),
  'xml': fc.constantFrom('<a>&amp;</a>', 'text <b/> text'),
  'point': fc.constantFrom('(0.1,-1e-300)'),
  'path': fc.constantFrom('[(0,0),(1,1)]', '((0,0),(1,1))'),
  'tsvector': fc.constantFrom("'a':1A,2 'b c':3", ''),
  'tsquery': fc.constantFrom("'a' & !'b':*"),
  'int4range': fc.constantFrom('empty', '[1,5)', '(,)', '[,7)'),
  'tstzmultirange': fc.constantFrom(
    '{}',
    '{["2026-01-01 00:00:00.000001+00","2026-01-02 00:00:00+00"),["2027-01-01 00:00:00+00",)}'
  ),
  'int[]': fc.constantFrom('{}', '{1,NULL,3}', '[2:3]={1,2}', '{{1,2},{3,4}}', '[0:0][5:6]={{1,2}}'),
  'text[]': fc.array(fc.oneof(text.map(quoted), fc.constantFrom('NULL', '"NULL"', '""')), { maxLength: 4 })
    .map(items => `{${items.join(',')}}`),
  'jsonb[]': fc.array(json.map(quoted), { maxLength: 3 }).map(items => `{${items.join(',')}}`),
  'mood': fc.constantFrom('calm', 'it\'s "odd", \\ and\nlong'),
  'mood[]': fc.constantFrom('{calm,NULL}', '{}'),
  'short': fc.constantFrom('abc', ''),
  'document': json,
  'pair': fc.constantFrom('(1,)', '(,)', '(2,"a ""b"" , (c)")', '(,"")'),
  'pair[]': fc.constantFrom('{"(1,a)",NULL}')
}
const columns = Object.keys(types)
const build = (isShared: boolean): string =>
  `
  ${
    isShared
      ? "create type public.mood as enum ('calm', 'it''s \"odd\", \\ and\nlong'); " +
        'create type public.pair as (n int, word text); create domain public.short as varchar(5); ' +
        'create domain public.document as jsonb not null;'
      : ''
  }
  create table values (${isShared ? 'tenant_id text not null, ' : ''}id serial, ${
    columns.map((type, index) =>
      `c${index} ${/^(mood|pair|short|document)/.test(type) ? 'public.' : ''}${type}${
        type === 'document' ? " default '{}'" : ''
      }`
    ).join(', ')
  },
    doubled numeric generated always as (c1 * 2) stored, primary key (${isShared ? 'tenant_id, ' : ''}id))`
    .replaceAll(' values (', ' "values" (')
const given = { build, tables: { tenant: ['values'], shared: ['countries'] } }

t.test("every value of every type survives export and import, whatever the servers' settings", async t => {
  const on = await managerFixture(t, given)
  const id = unique(on, 'a')
  await on.manager.create({ slug: 'acme', id })
  const row = fc.record(
    Object.fromEntries(
      columns.map(type => [type, type === 'document' ? types[type]! : fc.option(types[type]!, { freq: 6 })])
    )
  )
  const rows = fc.sample(row, { numRuns: 400, seed: 20_261_121 })
  const client = await connect(t, on.superUrl)
  for (const values of rows) {
    await client.query(
      `insert into "values" (tenant_id, ${columns.map((_, index) => `c${index}`).join(', ')}) values ($1, ${
        columns.map((_, index) => `$${index + 2}`).join(', ')
      })`,
      [id, ...columns.map(type => values[type])]
    )
  }
  // A server with unusual settings for the formats of values.
  await client.query(
    `alter database "${new URL(on.superUrl).pathname.slice(1)}" set datestyle = 'SQL, DMY'; alter database "${
      new URL(on.superUrl).pathname.slice(1)
    }" set extra_float_digits = -15;
    alter database "${new URL(on.superUrl).pathname.slice(1)}" set bytea_output = 'escape'; alter database "${
      new URL(on.superUrl).pathname.slice(1)
    }" set timezone = 'Asia/Kathmandu'; alter database "${
      new URL(on.superUrl).pathname.slice(1)
    }" set intervalstyle = 'sql_standard'`
  )
  const at = folder(t)
  const manager = on.another()
  const manifest = await manager.export({ id }, { to: join(at, 'export') })
  t.equal(manifest.tables[0]?.rows, 400)
  t.notOk(
    manifest.tables[0]?.columns.some(({ name }) => name === 'doubled'),
    'a generated column is generated again'
  )
  await manager.import(join(at, 'export'), { slug: 'rows', id: unique(on, 'rows') })
  await manager.import(join(at, 'export'), { slug: 'schema', id: unique(on, 'schema'), isolation: 'schema' })
  const sets =
    `set extra_float_digits = 3; set datestyle = 'ISO'; set intervalstyle = 'postgres'; set timezone = 'UTC'`
  await client.query(sets)
  const outputs = [...columns.map((_, index) => `c${index}`), 'doubled'].map(column =>
    `case when ${column} is distinct from null then format('%s', ${column}) end as ${column}`
  ).join(', ')
  const original =
    (await client.query(`select id, ${outputs} from "values" where tenant_id = $1 order by id`, [id])).rows
  t.same(
    (await client.query(`select id, ${outputs} from "values" where tenant_id = $1 order by id`, [
      unique(on, 'rows')
    ])).rows,
    original
  )
  t.same(
    (await client.query(`select id, ${outputs} from "tenant_${unique(on, 'schema')}"."values" order by id`))
      .rows,
    original
  )
  await manager.export({ slug: 'schema' }, { to: join(at, 'again') })
  t.same(contents(join(at, 'again')), contents(join(at, 'export')))
})

t.test('memory does not grow with the rows of an export', async t => {
  const on = await managerFixture(t)
  const id = unique(on, 'a')
  await on.manager.create({ slug: 'acme', id })
  await on.admin(
    'insert into labels (tenant_id, word) select $1, repeat(md5(g::text), 20) ' +
      'from generate_series(1, 50000) g',
    [id]
  )
  const to = join(folder(t), 'export')
  const child = fork(join(import.meta.dirname, '../support/export-memory.ts'), [
    JSON.stringify({ superUrl: on.superUrl, id, to })
  ], { execArgv: ['--conditions=@fastify-tenancy/source', '--expose-gc'] })
  const [{ rows, bytes, grown }] = await once(child, 'message') as [
    { rows: number; bytes: number; grown: number }
  ]
  t.equal(rows, 50_000)
  t.ok(bytes > 30_000_000)
  t.ok(grown < 8_000_000, `the heap and its buffers grew by ${grown} bytes for ${bytes}`)
  t.ok(existsSync(to))
})
