// Default deny: what cannot be proved is refused, and says which construct, why, and what to write
// instead.
import { CompiledQuery, OperatorNode, RawNode, sql, type Compilable, type OperationNode,
  type RootOperationNode, type SelectQueryNode } from 'kysely'
import t, { type Test } from 'tap'

import { RowCompiler } from '../../packages/database/src/compilers/row-compiler.ts'
import { kysely, scopeOf, tenant, text } from './compile.ts'

const db = kysely()
const other = 'another-tenant'
const another = { id: 1, tenant_id: other }

/** Each query is refused, with a message of three parts that matches. */
function refused (t: Test, queries: Readonly<Record<string, readonly [() => Compilable, RegExp]>>): void {
  for (const [name, [build, message]] of Object.entries(queries)) {
    let error: Error | undefined
    try {
      build().compile()
    } catch (caught) {
      error = caught as Error
    }
    t.match(error, { code: 'FST_TENANCY_QUERY_REFUSED', message }, name)
    t.match(error?.message, /^This tenant's handle refuses [^:]+.*: .+; .+/, name)
    t.notMatch(error?.message, new RegExp(`${tenant}|${other}`), `${name}: no tenant's id in the message`)
  }
}

t.test('REW-07: a row of another tenant is an error and no silent change', async t => {
  refused(t, {
    'one row': [() => db.insertInto('notes').values({ tenant_id: other, id: 1 } as never),
      /something else than this tenant's id in 'tenant_id'/],
    'one of several': [
      () =>
        db.insertInto('notes').values([{ tenant_id: tenant, id: 1 }, { tenant_id: other, id: 2 }] as never),
      /tenant_id/
    ],
    'an expression': [
      () => db.insertInto('notes').values(eb => ({ tenant_id: eb.ref('title'), id: 1 }) as never),
      /tenant_id/
    ],
    null: [() => db.insertInto('notes').values({ tenant_id: null, id: 1 } as never), /tenant_id/],
    'an array with the id': [() => db.insertInto('notes').values({ tenant_id: [tenant], id: 1 } as never),
      /tenant_id/],
    'an object that prints the id': [
      () =>
        db.insertInto('notes').values({
          tenant_id: {
            toString: () => tenant,
            toPostgres: () => other
          },
          id: 1
        } as never),
      /tenant_id/
    ],
    'the column in a select': [
      () =>
        db.insertInto('notes').columns(['tenant_id', 'id']).expression(eb =>
          eb.selectFrom('notes').select(['tenant_id', 'id'])
        ),
      /INSERT from a SELECT/
    ],
    'a select without columns': [
      () => db.insertInto('notes').expression(eb => eb.selectFrom('notes').selectAll()),
      /without columns\(\)/
    ],
    'in a merge': [
      () =>
        db.mergeInto('notes').using('tags', 'tags.id', 'notes.id').whenNotMatched().thenInsertValues(
          { tenant_id: other } as never
        ),
      /tenant_id/
    ]
  })
})

t.test('REW-09: a row does not change its tenant', async t => {
  refused(t, {
    'a value': [() => db.updateTable('notes').set({ tenant_id: other }), /update of the tenant column/],
    'by name': [() => db.updateTable('notes').set('tenant_id', other), /update of the tenant column/],
    'a spread object': [() => db.updateTable('notes').set({ ...another }), /update of the tenant column/],
    'a function': [() => db.updateTable('notes').set(eb => ({ tenant_id: eb.ref('title') })),
      /update of the tenant column/],
    'raw SQL': [() => db.updateTable('notes').set({ tenant_id: sql<string>`'b'` }),
      /update of the tenant column/],
    'raw column': [() => db.updateTable('notes').set(sql<string>`tenant_id` as never, other as never),
      /column of an update/],
    'raw reference': [() => db.updateTable('notes').set(sql.ref('tenant_id') as never, other as never),
      /column of an update/],
    'table and column': [() => db.updateTable('notes').set('notes.tenant_id' as never, other as never),
      /column of an update/],
    'on conflict': [
      () =>
        db.insertInto('notes').values({ id: 1 } as never).onConflict(oc =>
          oc.column('id').doUpdateSet({ tenant_id: other })
        ),
      /update of the tenant column/
    ],
    excluded: [
      () =>
        db.insertInto('notes').values({ id: 1 } as never).onConflict(oc =>
          oc.column('id').doUpdateSet(eb => ({ tenant_id: eb.ref('excluded.tenant_id') }))
        ),
      /update of the tenant column/
    ],
    merge: [
      () =>
        db.mergeInto('notes').using('tags', 'tags.id', 'notes.id').whenMatched().thenUpdateSet({
          tenant_id: other
        }),
      /update of the tenant column/
    ],
    'in WITH': [
      () =>
        db.with('x', q => q.updateTable('notes').set({ tenant_id: other }).returning('id')).selectFrom('x')
          .selectAll(),
      /update of the tenant column/
    ]
  })
})

t.test('REW-12: raw SQL is refused wherever it could name a table', async t => {
  const raw = sql<number>`(select count(*) from secrets)`
  refused(t, {
    'a statement': [() => ({ compile: () => sql`select * from secrets`.compile(db) }),
      /raw SQL.*Kysely's builders/],
    'sql.raw': [() => ({ compile: () => sql.raw('select 1').compile(db) }), /raw SQL/],
    'in a select': [() => db.selectFrom('notes').select(raw.as('x')), /raw SQL/],
    'in where': [() => db.selectFrom('notes').selectAll().where(sql<boolean>`true or true`), /raw SQL/],
    'in having': [() => db.selectFrom('notes').select('n').groupBy('n').having(sql<boolean>`true`),
      /raw SQL/],
    'in order by': [() => db.selectFrom('notes').selectAll().orderBy(sql`n`), /raw SQL/],
    'a direction': [() => db.selectFrom('notes').selectAll().orderBy('n', sql`asc, (select 1)`),
      /direction of ORDER BY/],
    'in group by': [() => db.selectFrom('notes').select('n').groupBy(sql`n`), /raw SQL/],
    'in a join': [
      () => db.selectFrom('notes').innerJoin('tags', join => join.on(sql<boolean>`1 = 1`)).selectAll('notes'),
      /raw SQL/
    ],
    'in from': [() => db.selectFrom(sql<{ value: string }>`secrets`.as('x')).selectAll(), /raw SQL in FROM/],
    'sql.table in from': [() => db.selectFrom(sql.table('secrets').as('x')).selectAll(), /raw SQL in FROM/],
    'sql.ref in from': [() => db.selectFrom(sql.ref('secrets').as('x')).selectAll(), /raw SQL in FROM/],
    'sql.id in from': [() => db.selectFrom(sql.id('secrets').as('x')).selectAll(), /raw SQL in FROM/],
    'eb.ref in from': [
      () =>
        db.selectFrom(eb => (eb.ref as unknown as (name: string) => typeof raw)('secrets').as('x'))
          .selectAll(),
      /eb\.ref/
    ],
    'sql.table in a select': [() => db.selectFrom('notes').select(sql.table('secrets').as('x')), /raw SQL/],
    'sql.id in a select': [() => db.selectFrom('notes').select(sql.id('public', 'secrets').as('x')),
      /raw SQL/],
    'sql.join': [() => db.selectFrom('notes').select(sql.join([1, 2]).as('x')), /raw SQL/],
    'an alias': [() => db.selectFrom('notes').select(eb => eb.ref('id').as(sql`x from secrets`)),
      /raw SQL as the name/],
    'an alias in from': [
      () =>
        db.selectFrom(eb => eb.selectFrom('notes').selectAll().as(sql`x(tenant_id)` as never)).selectAll(),
      /name that is empty or no text/
    ],
    'an operator': [() => db.selectFrom('notes').selectAll().where('n', sql`= 1 or 1 =`, 1),
      /raw SQL as an operator/],
    'a data type': [
      () => db.selectFrom('notes').select(eb => eb.cast('n', sql`text) from secrets --`).as('x')),
      /raw SQL as a data type/
    ],
    'a modifier in front': [() => db.selectFrom('notes').modifyFront(sql`distinct`).selectAll(),
      /modifyFront/],
    'a modifier at the end': [
      () => db.selectFrom('notes').modifyEnd(sql`union select * from secrets`).selectAll(),
      /modifyEnd/
    ],
    'the end of an update': [() => db.updateTable('notes').set({ n: 1 }).modifyEnd(sql`returning *`),
      /endModifiers/],
    'a body of WITH': [
      () => db.with('x', () => sql<{ a: string }>`select * from secrets`).selectFrom('x').selectAll(),
      /raw SQL/
    ],
    'a set operation': [
      () => db.selectFrom('notes').select('id').union(sql<{ id: number }>`select 1` as never),
      /RawNode as a sub-query/
    ],
    'an inserted value': [() => db.insertInto('notes').values({ id: sql<number>`(select 1)` } as never),
      /raw SQL/],
    'rows to insert': [() => db.insertInto('notes').columns(['id']).expression(sql<never>`select 1` as never),
      /INSERT from something else/],
    'the index of a conflict': [
      () =>
        db.insertInto('notes').values({ id: 1 } as never).onConflict(oc =>
          oc.expression(sql`id`).doNothing()
        ),
      /raw SQL/
    ]
  })
})

t.test('functions: a plain name on the list, and nothing else', async t => {
  const call = (name: string): Compilable => db.selectFrom('notes').select(eb => eb.fn(name, ['n']).as('x'))
  refused(t, {
    'reads every table': [() => call('query_to_xml'), /function 'query_to_xml'.*options\.row\.functions/],
    'changes a setting': [() => call('set_config'), /set_config/],
    'reads a setting': [() => call('current_setting'), /current_setting/],
    'takes a lock': [() => call('pg_advisory_lock'), /pg_advisory_lock/],
    waits: [() => call('pg_sleep'), /pg_sleep/],
    'moves a sequence': [() => call('nextval'), /nextval/],
    'reads a file': [() => call('pg_read_file'), /pg_read_file/],
    'text that is no name': [() => call('now(); delete from notes; select lower'), /no plain name/],
    'in a schema': [() => call('pg_catalog.query_to_xml'), /query_to_xml/],
    'an aggregate': [() => db.selectFrom('notes').select(eb => eb.fn.agg('query_to_xml', ['n']).as('x')),
      /query_to_xml/],
    'in from': [
      () => db.selectFrom(eb => eb.fn<{ x: string }>('pg_ls_dir', [eb.val('.')]).as('x')).selectAll(),
      /pg_ls_dir/
    ]
  })
  t.ok(
    db.selectFrom('notes').select(eb => eb.fn('LOWER', ['title']).as('x')).compile().sql.includes(
      'lower("title")'
    )
  )
  const own = kysely(new RowCompiler(scopeOf(tenant, { functions: new Set(['app.slugify']) })))
  t.ok(
    own.selectFrom('notes').select(eb => eb.fn('app.slugify', ['title']).as('x')).compile().sql.includes(
      'app.slugify("title")'
    )
  )
  t.throws(() => own.selectFrom('notes').select(eb => eb.fn('lower', ['title']).as('x')).compile())
})

t.test('REW-13, REW-18, SCH-07: other schemas, unlisted tables, and shared ones in writing', async t => {
  const untyped = db as unknown as {
    [method: string]: (
      table: string
    ) => { selectAll(): Compilable; where(...args: unknown[]): Compilable; defaultValues(): Compilable }
  }
  refused(t, {
    withSchema: [() => db.withSchema('other').selectFrom('notes').selectAll(), /schema 'other'/],
    'a schema in the name': [
      () =>
        (untyped.selectFrom as (table: string) => { selectAll(): Compilable })('pg_catalog.pg_authid')
          .selectAll(),
      /schema 'pg_catalog'/
    ],
    'an unlisted table': [() => db.selectFrom('secrets').selectAll(), /table 'secrets'/],
    'an unlisted table deep inside': [
      () =>
        db.selectFrom('notes').selectAll().where(eb =>
          eb.exists(
            eb.selectFrom('tags').select('id').where('label', 'in', eb.selectFrom('secrets').select('value'))
          )
        ),
      /table 'secrets'/
    ],
    'delete from a shared table': [() => db.deleteFrom('countries'), /shared table 'countries'/],
    'update of a shared table': [() => db.updateTable('countries').set({ name: 'x' }),
      /shared table 'countries'/],
    'insert into a shared table': [() => db.insertInto('countries').values({ code: 'x', name: 'y' }),
      /shared table 'countries'/],
    'merge into a shared table': [
      () => db.mergeInto('countries').using('notes', 'title', 'code').whenMatched().thenDelete(),
      /shared table 'countries'/
    ],
    'a name of WITH that is out of reach': [
      () =>
        db.with('a', q => (q as unknown as typeof db).selectFrom('b' as 'notes').selectAll()).with(
          'b',
          q => q.selectFrom('notes').selectAll()
        ).selectFrom('a').selectAll(),
      /table 'b'/
    ]
  })
  t.ok(
    db.withSchema('public').selectFrom('notes').selectAll('notes').where('notes.id', '=', 1).compile().sql
      .includes('"notes"."tenant_id"'),
    'its own schema may be named'
  )
})

t.test('REW-14: DDL, explain and what else is no statement on rows', async t => {
  refused(t, {
    'create table': [() => db.schema.createTable('x').addColumn('a', 'text'), /CreateTableNode.*migration/],
    'drop table': [() => db.schema.dropTable('notes'), /DropTableNode/],
    'alter table': [() => db.schema.alterTable('notes').dropColumn('tenant_id'), /AlterTableNode/],
    'create index': [() => db.schema.createIndex('i').on('notes').column('n'), /CreateIndexNode/],
    'create view': [() => db.schema.createView('v').as(db.selectFrom('notes').selectAll()), /CreateViewNode/],
    'refresh materialized view': [() => db.schema.refreshMaterializedView('v'),
      /RefreshMaterializedViewNode/],
    'create schema': [() => db.schema.createSchema('s'), /CreateSchemaNode/],
    'create type': [() => db.schema.createType('t').asEnum(['a']), /CreateTypeNode/]
  })
  await t.rejects(db.selectFrom('notes').selectAll().explain('json'), {
    code: 'FST_TENANCY_QUERY_REFUSED',
    message: /explain/
  })
  await t.rejects(db.deleteFrom('notes').explain(), { code: 'FST_TENANCY_QUERY_REFUSED' })
  await t.rejects(db.introspection.getTables(), { code: 'FST_TENANCY_QUERY_REFUSED' })
})

t.test('what only other databases have', async t => {
  refused(t, {
    top: [() => db.selectFrom('notes').top(1).selectAll(), /'top'/],
    'replace into': [() => db.replaceInto('notes').values({ id: 1 } as never), /'replace'/],
    'insert ignore': [() => db.insertInto('notes').ignore().values({ id: 1 } as never), /'orAction'/],
    'on duplicate key': [
      () => db.insertInto('notes').values({ id: 1 } as never).onDuplicateKeyUpdate({ n: 1 }),
      /'onDuplicateKey'/
    ],
    output: [() => db.deleteFrom('notes').output('deleted.id'), /'output'/],
    'limit of an update': [() => db.updateTable('notes').set({ n: 1 }).limit(1), /'limit'/],
    'order of a delete': [() => db.deleteFrom('notes').orderBy('id').limit(1), /'orderBy'|'limit'/],
    'several targets': [() => db.deleteFrom(['notes', 'tags']), /several tables/],
    'several tables to update': [() => db.updateTable(['notes', 'tags']).set({ 'notes.n': 1 } as never),
      /ListNode/],
    'cross apply': [
      () => db.selectFrom('notes').crossApply(eb => eb.selectFrom('tags').selectAll().as('x')).selectAll(),
      /CrossApply/
    ],
    'a join of an update': [
      () => db.updateTable('notes').innerJoin('tags', 'tags.id', 'notes.id').set({ n: 1 }),
      /join of an UPDATE/
    ],
    'a join of a delete': [() => db.deleteFrom('notes').innerJoin('tags', 'tags.id', 'notes.id'),
      /join of a DELETE/]
  })
})

t.test('literals that a string of SQL could not hold safely', async t => {
  refused(t, {
    backslash: [() => db.selectFrom('notes').select(sql.lit('\\').as('x')), /literal/],
    NaN: [() => db.selectFrom('notes').select(sql.lit(NaN).as('x')), /literal/],
    'a key of JSON': [
      () => db.selectFrom('notes').select(eb => eb.ref('data', '->' as never).key('a\\' as never).as('x')),
      /literal/
    ]
  })
})

t.test('REW-19: a kind of node, or a property of one, that nobody knows', async t => {
  const known = db.selectFrom('notes').selectAll().toOperationNode() as SelectQueryNode
  const compiler = new RowCompiler(scopeOf())
  const compile = (node: unknown): CompiledQuery =>
    compiler.compileQuery(node as RootOperationNode, { queryId: 'x' })
  t.doesNotThrow(() => compile(known))
  const forged: readonly unknown[] = [
    { ...known, kind: 'UnknownNode' },
    { ...known, window: { kind: 'WindowNode' } },
    { ...known, from: { ...known.from, tablesample: 'x' } },
    { ...known, where: { kind: 'WhereNode', where: { kind: 'SubscriptNode' } } },
    { ...known, where: { kind: 'WhereNode', where: OperatorNode.create('=') } },
    { ...known, selections: [{ kind: 'SelectionNode', selection: { kind: 'TableNode' } }] },
    {
      ...known,
      setOperations: [{
        kind: 'SetOperationNode',
        operator: 'union select * from secrets --',
        expression: known,
        all: false
      }]
    },
    {
      ...known,
      fetch: {
        kind: 'FetchNode',
        rowCount: { kind: 'ValueNode', value: 1 },
        modifier: 'only; drop table notes'
      }
    },
    {
      ...known,
      orderBy: {
        kind: 'OrderByNode',
        items: [{ kind: 'OrderByItemNode', orderBy: { kind: 'ValueNode', value: 1 }, nulls: 'first; x' }]
      }
    },
    {
      ...known,
      endModifiers: [{
        kind: 'SelectModifierNode',
        modifier: 'ForUpdate',
        of: [RawNode.createWithSql('secrets')]
      }]
    },
    { ...known, from: { kind: 'FromNode', froms: [{ kind: 'FunctionNode', func: 'lower', arguments: [] }] } }
  ]
  for (const node of forged)
    t.throws(() => compile(node), { code: 'FST_TENANCY_QUERY_REFUSED' }, JSON.stringify(node).slice(0, 100))
})

t.test('a plugin cannot put back what was taken out: the rewriting comes after it', async t => {
  const planting = db.withPlugin({
    transformQuery: ({ node }) => ({ ...node, where: undefined }) as unknown as RootOperationNode,
    async transformResult ({ result }) {
      return result
    }
  })
  t.equal(
    planting.selectFrom('notes').selectAll().compile().sql,
    'select * from "public"."notes" where "notes"."tenant_id" = $1'
  )
  const naming = db.withPlugin({
    transformQuery: ({ node }) =>
      ({ ...node, from: db.selectFrom('secrets').toOperationNode().from }) as unknown as RootOperationNode,
    async transformResult ({ result }) {
      return result
    }
  })
  t.throws(() => naming.selectFrom('notes').selectAll().compile(), { code: 'FST_TENANCY_QUERY_REFUSED' })
})

t.test('a query that was compiled elsewhere, copied or made by hand is no query of this handle', async t => {
  const own = new RowCompiler(scopeOf())
  const query = kysely(own).selectFrom('notes').selectAll().compile()
  t.same(own.statementOf(query), { text: query.sql, values: query.parameters })
  const foreign = kysely(new RowCompiler(scopeOf(other))).selectFrom('notes').selectAll().compile()
  for (
    const one of [foreign, { ...query }, CompiledQuery.raw('select * from notes'), {
      ...query,
      parameters: [other]
    }]
  ) {
    t.throws(() => own.statementOf(one), {
      code: 'FST_TENANCY_QUERY_REFUSED',
      message: /did not compile itself/
    })
  }
  t.throws(
    () => {
      ;(query.parameters as unknown[])[0] = other
    },
    TypeError,
    'the parameters cannot be changed'
  )
  t.throws(() => {
    ;(query as { sql: string }).sql = 'select 1'
  }, TypeError)
})

t.test('whoever holds a compiled query cannot reach the tenant of the next one', async t => {
  const compiler = new RowCompiler(scopeOf())
  const handle = kysely(compiler)
  const poison = (node: unknown): void => {
    if (typeof node !== 'object' || node === null) return
    for (const [key, value] of Object.entries(node)) {
      poison(value)
      if (value === tenant || value === '=') Reflect.set(node, key, other)
    }
  }
  for (
    const query of [
      handle.insertInto('notes').columns(['id']).expression(eb => eb.selectFrom('tags').select('id')),
      handle.selectFrom('notes').selectAll().where('n', '=', 1)
    ]
  ) {
    const compiled = query.compile()
    poison(compiled)
    t.same(compiler.statementOf(compiled).values.filter(value => value === other), [])
  }
  t.equal(
    text(handle.selectFrom('notes').selectAll().where('n', '=', 1)),
    'select * from "public"."notes" where "notes"."tenant_id" = :tenant and ("n" = 1)'
  )
})

t.test('a node that changes while it is read is read once', async t => {
  let reads = 0
  const node = db.selectFrom('notes').selectAll().toOperationNode() as SelectQueryNode
  const name: OperationNode = Object.defineProperty({ kind: 'IdentifierNode' }, 'name', {
    enumerable: true,
    get: () => reads++ === 0 ? 'notes' : 'secrets'
  }) as OperationNode
  const forged = {
    ...node,
    from: {
      kind: 'FromNode',
      froms: [{ kind: 'TableNode', table: { kind: 'SchemableIdentifierNode', identifier: name } }]
    }
  }
  t.notMatch(
    new RowCompiler(scopeOf()).compileQuery(forged as unknown as RootOperationNode, { queryId: 'x' }).sql,
    /from "public"\."secrets"(?! where)/
  )
})

// Kysely has no type for a function in FROM that is no expression of a table.
function item (name: string, alias: string): never {
  const call = (
    eb: {
      fn: (name: string, args: unknown[]) => { as(alias: string): never }
      val: (value: unknown) => unknown
    }
  ): never => eb.fn(name, [eb.val('/etc/passwd')]).as(alias)
  return call as never
}

function from (name: string, column: string, alias = 't'): Compilable {
  return db.selectFrom(item(name, alias)).select(`${alias}.${column}` as never)
}

t.test('CON-10: a column of a function in FROM that is none of its columns is refused', async t => {
  refused(t, {
    'a file': [() => from('lower', 'pg_read_file'), /'pg_read_file' of 't'/],
    'a text that is run': [() => from('concat', 'ts_stat'), /'ts_stat' of 't'/],
    'of rows': [() => from('string_to_table', 'query_to_xml'), /'query_to_xml' of 't'/],
    'of unnest()': [() => from('unnest', 'pg_sleep'), /'pg_sleep' of 't'/],
    'the alias of a function with a name for its value': [() => from('jsonb_array_elements', 't'),
      /'t' of 't'/],
    'in WHERE': [
      () =>
        db.selectFrom(item('lower', 't')).select('t.t' as never).where(
          't.pg_read_file' as never,
          '=',
          'x' as never
        ),
      /'pg_read_file'/
    ],
    'in ORDER BY': [
      () => db.selectFrom(item('lower', 't')).select('t.t' as never).orderBy('t.pg_read_file' as never),
      /'pg_read_file'/
    ],
    'beside a table': [
      () => db.selectFrom(['notes', item('lower', 't')]).select(['notes.id', 't.pg_ls_dir'] as never),
      /'pg_ls_dir'/
    ],
    'as an argument': [
      () =>
        db.selectFrom(item('lower', 't')).select(eb =>
          eb.fn<string>('upper', ['t.pg_read_file' as never]).as('u')
        ),
      /'pg_read_file'/
    ],
    'in a sub-query': [
      () =>
        db.selectFrom(item('lower', 't')).select(eb =>
          eb.selectFrom('notes').select('t.pg_read_file' as never).as('s')
        ),
      /'pg_read_file'/
    ],
    'of a sub-query': [
      () =>
        db.selectFrom(eb => eb.selectFrom('notes').select('title').as('s')).select('s.pg_read_file' as never),
      /'pg_read_file' of 's'/
    ],
    'of a name of WITH': [
      () =>
        db.with('c', q => q.selectFrom('notes').select('title')).selectFrom('c').select(
          'c.pg_read_file' as never
        ),
      /'pg_read_file' of 'c'/
    ],
    'behind a lateral join': [
      () =>
        db.selectFrom(item('lower', 't')).innerJoinLateral(
          eb => eb.selectFrom('notes').select('t.pg_read_file' as never).as('l'),
          join => join.onTrue()
        ).selectAll(),
      /'pg_read_file' of 't'/
    ]
  })
  t.equal(
    text(from('lower', 't')),
    'select "t"."t" from lower("/etc/passwd") as "t"',
    'control: the column that it has'
  )
  t.equal(
    text(from('jsonb_array_elements', 'value')),
    'select "t"."value" from jsonb_array_elements("/etc/passwd") as "t"'
  )
  t.equal(text(from('unnest', 't')), 'select "t"."t" from unnest("/etc/passwd") as "t"')
})
