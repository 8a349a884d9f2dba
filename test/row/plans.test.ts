// A rewritten query is planned like the one that its author would have written with the tenant in
// it by hand.
import type { Compilable, CompiledQuery, Kysely } from 'kysely'
import type pg from 'pg'
import t, { type Test } from 'tap'

import { RowCompiler } from '../../packages/database/src/compilers/row-compiler.ts'
import { freshDatabase } from '../support/fresh.ts'
import { connect } from '../support/sql.ts'
import { kysely, scopeOf } from './compile.ts'

interface Tables {
  notes: { tenant_id: string; id: number; parent: number | null; n: number; title: string }
  tags: { tenant_id: string; id: number; note_id: number; label: string }
}

const tables = {
  schema: 'public',
  tenant: new Map(
    (['notes', 'tags'] as const).map(name => [name, { name, column: 'tenant_id', type: 'text' as const }])
  ),
  shared: new Set<string>()
}

function dbOf (tenant: string): Kysely<Tables> {
  return kysely<Tables>(new RowCompiler(scopeOf(tenant, { tables })))
}

/** `small` has 5 notes and `big` 400,000, with a tag for every fourth one. */
async function database (t: Test): Promise<pg.Client> {
  const client = await connect(t, await freshDatabase(t))
  await client.query(`
    create table notes (tenant_id text not null, id int not null, parent int, n int not null, title text
      not null, primary key (tenant_id, id));
    create table tags (tenant_id text not null, id int not null, note_id int not null, label text not
      null, primary key (tenant_id, id));
    insert into notes select 'big', i, nullif(i / 10, 0), i % 100, 'title ' || i from generate_series(1,
      400000) i;
    insert into notes select 'small', i, null, i, 'title ' || i from generate_series(1, 5) i;
    insert into tags select 'big', i, i * 4, 'label ' || i % 50 from generate_series(1, 100000) i;
    insert into tags select 'small', i, i, 'label ' || i from generate_series(1, 5) i;
    create index on notes (tenant_id, n); create index on tags (tenant_id, note_id);
    analyze notes; analyze tags; set plan_cache_mode = force_custom_plan`)
  return client
}

/** The shape of a plan: its nodes, tables, indexes and kinds of join. */
async function planOf (
  client: pg.Client,
  { sql, parameters }: Pick<CompiledQuery, 'sql' | 'parameters'>
): Promise<string> {
  await client.query(`prepare one as ${sql}`)
  try {
    const values = parameters.map(value => typeof value === 'number' ? String(value) : `'${String(value)}'`)
    const { rows: [row] } = await client.query<{ 'QUERY PLAN': { Plan: Node }[] }>(
      `explain (format json, costs off) execute one${values.length > 0 ? `(${values.join(', ')})` : ''}`
    )
    return shape(row?.['QUERY PLAN'][0]?.Plan)
  } finally {
    await client.query('deallocate one')
  }
}

interface Node {
  readonly Plans?: readonly Node[]
  readonly [name: string]: unknown
}

function shape (node: Node | undefined, depth = 0): string {
  if (node === undefined) return ''
  const parts = ['Node Type', 'Join Type', 'Strategy', 'Relation Name', 'Alias', 'Index Name'].map(name =>
    node[name]
  ).filter(Boolean)
  return `${' '.repeat(depth)}${parts.join(' ')}\n${
    (node.Plans ?? []).map(inner => shape(inner, depth + 1)).join('')
  }`
}

const queries: Readonly<Record<string, readonly [(db: Kysely<Tables>) => Compilable, string]>> = {
  'one row': [db => db.selectFrom('notes').selectAll().where('id', '=', 3),
    'select * from notes where tenant_id = $1 and id = 3'],
  'by another index': [db => db.selectFrom('notes').selectAll().where('n', '=', 3),
    'select * from notes where tenant_id = $1 and n = 3'],
  'all of them, counted': [db => db.selectFrom('notes').select(eb => eb.fn.countAll().as('x')),
    'select count(*) from notes where tenant_id = $1'],
  'inner join': [
    db =>
      db.selectFrom('notes').innerJoin('tags', 'tags.note_id', 'notes.id').select('label').where(
        'notes.n',
        '=',
        4
      ),
    'select label from notes join tags on tags.note_id = notes.id where notes.tenant_id = $1 and ' +
    'tags.tenant_id = $1 and notes.n = 4'
  ],
  'three tables': [
    db =>
      db.selectFrom('notes').innerJoin('tags', 'tags.note_id', 'notes.id').innerJoin(
        'notes as up',
        'up.id',
        'notes.parent'
      ).select('up.title').where('tags.id', '<', 3),
    'select up.title from notes join tags on tags.note_id = notes.id join notes up on up.id = ' +
    'notes.parent where notes.tenant_id = $1 and tags.tenant_id = $1 and up.tenant_id = $1 and ' +
    'tags.id < 3'
  ],
  'left join': [
    db =>
      db.selectFrom('notes').leftJoin('tags', 'tags.note_id', 'notes.id').select('label').where(
        'notes.id',
        '<',
        4
      ),
    'select label from notes left join tags on tags.note_id = notes.id and tags.tenant_id = $1 ' +
    'where notes.tenant_id = $1 and notes.id < 4'
  ],
  'right join': [
    db =>
      db.selectFrom('tags').rightJoin('notes', 'tags.note_id', 'notes.id').select('label').where(
        'notes.id',
        '<',
        4
      ),
    'select label from (select * from tags where tenant_id = $1) tags right join notes on ' +
    'tags.note_id = notes.id where notes.tenant_id = $1 and notes.id < 4'
  ],
  'full join': [
    db => db.selectFrom('notes').fullJoin('tags', 'tags.note_id', 'notes.id').select('label'),
    'select label from (select * from notes where tenant_id = $1) notes full join (select * from ' +
    'tags where tenant_id = $1) tags on tags.note_id = notes.id'
  ],
  exists: [
    db =>
      db.selectFrom('notes').select('id').where(eb =>
        eb.exists(eb.selectFrom('tags').select('tags.id').whereRef('note_id', '=', 'notes.id'))
      ).where('n', '=', 1),
    'select id from notes where tenant_id = $1 and exists (select from tags where tenant_id = $1 ' +
    'and note_id = notes.id) and n = 1'
  ],
  'group by the primary key': [
    db =>
      db.selectFrom('notes').select(['tenant_id', 'id', 'title']).groupBy(['tenant_id', 'id']).where(
        'n',
        '=',
        2
      ),
    'select tenant_id, id, title from notes where tenant_id = $1 and n = 2 group by tenant_id, id'
  ],
  'the newest page': [
    db => db.selectFrom('notes').select('title').orderBy('id', 'desc').limit(10),
    'select title from notes where tenant_id = $1 order by id desc limit 10'
  ],
  'with': [
    db =>
      db.with('x', q => q.selectFrom('notes').select('id').where('n', '=', 3)).selectFrom('x').innerJoin(
        'tags',
        'note_id',
        'x.id'
      ).select('label'),
    'with x as (select id from notes where tenant_id = $1 and n = 3) select label from x join tags ' +
    'on note_id = x.id where tags.tenant_id = $1'
  ],
  update: [db => db.updateTable('notes').set({ title: 'x' }).where('n', '=', 3),
    "update notes set title = 'x' where tenant_id = $1 and n = 3"],
  'delete using': [
    db =>
      db.deleteFrom('tags').using('notes').whereRef('tags.note_id', '=', 'notes.id').where('notes.n', '=', 3),
    'delete from tags using notes where tags.tenant_id = $1 and notes.tenant_id = $1 and ' +
    'tags.note_id = notes.id and notes.n = 3'
  ]
}

t.test('plans equal those of hand-written queries, for tenants of 5 and 400,000 rows', {
  timeout: 60_000
}, async t => {
  const client = await database(t)
  let differing = 0
  for (const [name, [build, byHand]] of Object.entries(queries)) {
    const plans: string[] = []
    for (const tenant of ['small', 'big']) {
      const plan = await planOf(client, build(dbOf(tenant)).compile())
      t.equal(plan, await planOf(client, { sql: byHand, parameters: [tenant] }), `${name} for ${tenant}`)
      plans.push(plan)
    }
    if (plans[0] !== plans[1]) differing++
  }
  t.ok(differing >= 5, `control: ${differing} queries are planned otherwise for the other tenant`)
})
