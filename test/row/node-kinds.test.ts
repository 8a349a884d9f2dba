// Kysely's vocabulary, as the rewriter was written for it: a new word fails here before it meets a
// query.
import { findPackageJSON } from 'node:module'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { PostgresQueryCompiler } from 'kysely'
import t from 'tap'

// Not import.meta.resolve(): a test run resolves kysely to a bundle.
const folder = join(findPackageJSON('kysely', import.meta.url) ?? '', '../dist')

/** The kinds that the grammar has a place for. */
const known = words(`
  AggregateFunctionNode AliasNode AndNode BinaryOperationNode CaseNode CastNode CollateNode ColumnNode
    ColumnUpdateNode
  CommonTableExpressionNameNode CommonTableExpressionNode DataTypeNode DefaultInsertValueNode
    DeleteQueryNode FetchNode FromNode
  FunctionNode GroupByItemNode GroupByNode HavingNode IdentifierNode InsertQueryNode JSONOperatorChainNode
    JSONPathLegNode JSONPathNode
  JSONReferenceNode JoinNode LimitNode MatchedNode MergeQueryNode OffsetNode OnConflictNode OnNode
    OperatorNode OrNode OrderByItemNode
  OrderByNode OverNode ParensNode PartitionByItemNode PartitionByNode PrimitiveValueListNode RawNode
    ReferenceNode ReturningNode
  SchemableIdentifierNode SelectAllNode SelectModifierNode SelectQueryNode SelectionNode SetOperationNode
    TableNode TupleNode
  UnaryOperationNode UpdateQueryNode UsingNode ValueListNode ValueNode ValuesNode WhenNode WhereNode
    WithNode`)

/** Those that it refuses, for they change tables, or belong to another database. */
const refused = words(`
  AddColumnNode AddConstraintNode AddIndexNode AddValueNode AlterColumnNode AlterTableNode AlterTypeNode
    CheckConstraintNode
  ColumnDefinitionNode CreateIndexNode CreateSchemaNode CreateTableNode CreateTypeNode CreateViewNode
    DefaultValueNode DropColumnNode
  DropConstraintNode DropIndexNode DropSchemaNode DropTableNode DropTypeNode DropViewNode ExplainNode
    ForeignKeyConstraintNode
  GeneratedNode ListNode ModifyColumnNode OnDuplicateKeyNode OrActionNode OutputNode
    PrimaryKeyConstraintNode ReferencesNode
  RefreshMaterializedViewNode RenameColumnNode RenameConstraintNode RenameValueNode TopNode
    UniqueConstraintNode`)

t.test('REW-19: Kysely has no kind of node that the rewriter was not written for', async t => {
  const declaration = readFileSync(join(folder, 'operation-node', 'operation-node.d.ts'), 'utf8')
  const kinds = [...(/OperationNodeKind = ([^;]+);/.exec(declaration)?.[1] ?? '').matchAll(/'(\w+)'/g)].map((
    [, kind]
  ) => kind ?? '')
  t.ok(kinds.length > 90)
  t.same(
    kinds.toSorted(),
    [...known, ...refused].toSorted(),
    'read what the new kind does, then give it a place in the grammar or in the list of the refused'
  )
})

t.test("REW-19: Kysely's compiler has a method for each kind, and no other", async t => {
  const methods = new Set<string>()
  for (
    let prototype: object = PostgresQueryCompiler.prototype;
    prototype !== Object.prototype;
    prototype = Object.getPrototypeOf(prototype) as object
  ) {
    for (const name of Object.getOwnPropertyNames(prototype)) if (/^visit[A-Z]/.test(name)) methods.add(name)
  }
  t.same(
    [...methods].toSorted(),
    [...known, ...refused].map(kind =>
      `visit${kind.replace(/(?:Query)?Node$/, match => match === 'QueryNode' ? 'Query' : '')}`
    ).toSorted()
  )
})

t.test('REW-19: the grammar reads exactly the node properties that it was written for', async t => {
  const golden = readFileSync(new URL('golden/kysely-nodes.txt', import.meta.url), 'utf8')
  t.same(
    known.toSorted().map(kind => `${kind}: ${propertiesOf(kind)}`),
    golden.trim().split('\n'),
    'read what the new property does, then give it a place in the grammar, and its line in the golden file'
  )
})

function propertiesOf (kind: string): string {
  const file = kind.replace(/^JSON/, 'Json').replaceAll(/(?<!^)[A-Z]/g, letter => `-${letter}`).toLowerCase()
  const text = readFileSync(join(folder, 'operation-node', `${file}.d.ts`), 'utf8')
  const body = new RegExp(`interface ${kind} extends OperationNode \\{([\\s\\S]*?)\\n\\}`).exec(text)?.[1] ??
    ''
  return [...body.matchAll(/^\s+(?:readonly )?(\w+)\??:/gm)].map(([, name]) => name).filter(name =>
    name !== 'kind'
  ).join(' ')
}

function words (text: string): readonly string[] {
  return text.trim().split(/\s+/)
}
