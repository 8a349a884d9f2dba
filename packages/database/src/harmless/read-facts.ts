import type { SqlClient } from '@fastify-tenancy/postgres/client'

import { Facts, nameKey, type Edges, type NameRow, type Relation, type RelationRow } from './facts.ts'
import { lookedUpFunctions, lookedUpOperators } from './names.ts'
import * as question from './question.ts'
import { readExpressions, type ExpressionRow } from './read-expressions.ts'
import { Types, type TypeRow } from './types.ts'

/** The parameters of {@link readFacts}. */
export interface FactsQuery {
  readonly schema: string
  /** The names of the tables; undefined for all tables of the schema. */
  readonly tables: readonly string[] | undefined
  /** Returns the ids of policies on these tables that are exactly as `protect` creates them. */
  readonly ownPolicies: (client: SqlClient) => Promise<ReadonlySet<string>>
  /** Functions that the application lists for strategy `row`, besides the built-in ones. */
  readonly functions: readonly string[]
  /**
   * The names by which `item.name` is a call in pg_catalog. They do not change while the server
   * runs.
   */
  readonly builtInCalls: ReadonlySet<string>
}

/** Facts with a signature, which is equal for equal facts. */
export interface Answer {
  /** The catalog epoch in which they were read, or an earlier one; '' if the database has none. */
  readonly epoch: string
  readonly facts: Facts
  readonly signature: string
}

/**
 * Reads the facts of a schema. Must be called in a read-only transaction with pg_catalog as the
 * only schema on the path. Each query has its own snapshot. A change between two queries ends the
 * epoch, or is noticed a minute later.
 */
export async function readFacts (
  client: SqlClient,
  { schema, tables, ownPolicies, functions: listed, builtInCalls }: FactsQuery
): Promise<Omit<Answer, 'epoch'>> {
  const graph = await readGraph(client, schema, tables)
  const ids = graph.relations.map(({ oid }) => oid)
  const all = async <R>(text: string, ...values: unknown[]): Promise<R[]> =>
    (await client.query<R>(text, values)).rows
  const columns = await all<ColumnsRow>(question.columns, ids)
  const expressions = await readExpressions(client, await all<ExpressionRow>(question.expressions, ids))
  const policies = await all<PolicyRow>(question.policies, ids)
  const own = policies.length === 0 ? new Set<string>() : await ownPolicies(client)
  const tainted = await all<{ oid: string; isBuiltIn: boolean }>(question.taintedTypes)
  const types = await readTypes(client, [...columns.flatMap(row => row.types), ...expressions.types])
  const functions = await all<NameRow>(question.functions, lookedUpFunctions)
  const operators = await all<NameRow>(question.operators, lookedUpOperators)
  const calls = await all<{ schema: string; names: string[] }>(question.calls, false)
  const results = listed.length === 0
    ? []
    : await all<{ name: string; columns: string[] | null }>(question.results, listed)
  const known = new Types(types, new Set(tainted.map(({ oid }) => oid)))
  const foreign = new Set(policies.filter(({ oid }) => !own.has(oid)).map(({ relation }) => relation))
  const columnsOf = new Map(columns.map(row => [row.relation, row]))
  const relations = new Map(graph.relations.map((row): [string, Relation] => {
    const { names = [], types: columnTypes = [] } = columnsOf.get(row.oid) ?? {}
    const { reading, writing } = expressions.of(row.oid, known)
    return [row.oid, {
      oid: row.oid,
      isHidden: row.isHidden,
      columns: new Set(names),
      isReadable: row.isTable && !row.hasRules && !foreign.has(row.oid) && !known.isTainted(row.type) &&
        columnTypes.every(type => known.isHarmless(type)) && reading,
      isWritable: !row.hasTriggers && writing
    }]
  }))
  return {
    facts: new Facts({
      relations,
      names: new Map(graph.relations.map(row => [nameKey(row.schema, row.name), row.oid])),
      edges: {
        ...graph.edges,
        read: new Map(
          [...Map.groupBy(policies, ({ relation }) => relation)].map((
            [relation, rows]
          ) => [relation, rows.flatMap(({ reads }) => reads)])
        )
      },
      functions,
      operators,
      calls: new Map([...calls.map((row): [string, ReadonlySet<string>] => [row.schema, new Set(row.names)]),
        ['pg_catalog', builtInCalls]]),
      results: new Map(
        [...Map.groupBy(results, ({ name }) => name)].map((
          [name, rows]
        ) => [name, rows.map(row => row.columns)])
      ),
      types: known,
      isTainted: tainted.some(({ isBuiltIn }) => isBuiltIn)
    }),
    signature: JSON.stringify([graph.relations, graph.rows, columns, expressions.signature, policies, [
      ...own
    ], tainted, types, functions, operators, calls, results])
  }
}

/** Returns the names by which `item.name` is a call in pg_catalog. */
export async function readBuiltInCalls (client: SqlClient): Promise<ReadonlySet<string>> {
  const { rows } = await client.query<{ names: string[] }>(question.calls, [true])
  return new Set(rows.flatMap(({ names }) => names))
}

interface PolicyRow {
  readonly oid: string
  readonly relation: string
  readonly reads: readonly string[]
}

interface ColumnsRow {
  readonly relation: string
  readonly names: readonly string[]
  readonly types: readonly string[]
}

interface KeyRow {
  readonly child: string
  readonly parent: string
  readonly acts: boolean
}

interface InheritanceRow {
  readonly child: string
  readonly parent: string
  readonly isPartition: boolean
}

interface Graph {
  readonly relations: readonly RelationRow[]
  readonly edges: Omit<Edges, 'read'>
  readonly rows: readonly unknown[]
}

// Reads the tables at the other end of each edge until none is new. One or two rounds, if foreign
// keys stay within the list.
async function readGraph (
  client: SqlClient,
  schema: string,
  tables: readonly string[] | undefined
): Promise<Graph> {
  const { rows: relations } = await client.query<RelationRow>(question.relationsOfSchema, [schema,
    tables ?? null])
  const seen = new Set(relations.map(({ oid }) => oid))
  const keys = new Map<string, KeyRow>()
  const inheritance = new Map<string, InheritanceRow>()
  for (let added = [...seen]; added.length > 0;) {
    for (const row of (await client.query<KeyRow>(question.keys, [added])).rows)
      keys.set(JSON.stringify(row), row)
    for (const row of (await client.query<InheritanceRow>(question.inheritance, [added])).rows)
      inheritance.set(JSON.stringify(row), row)
    added = [
      ...new Set([...keys.values(), ...inheritance.values()].flatMap(({ child, parent }) => [child, parent]))
    ].filter(oid => !seen.has(oid))
    for (const oid of added) seen.add(oid)
    if (added.length > 0)
      relations.push(...(await client.query<RelationRow>(question.relationsById, [added])).rows)
  }
  return {
    relations: relations.toSorted((a, b) => Number(a.oid) - Number(b.oid)),
    edges: edgesOf([...keys.values()], [...inheritance.values()]),
    rows: [[...keys.keys()].toSorted(), [...inheritance.keys()].toSorted()]
  }
}

function edgesOf (keys: readonly KeyRow[], inheritance: readonly InheritanceRow[]): Graph['edges'] {
  const family = new Map<string, string[]>()
  const parents = new Map<string, string[]>()
  const children = new Map<string, { child: string; acts: boolean }[]>()
  for (const { child, parent, acts } of keys) {
    put(parents, child, parent)
    put(children, parent, { child, acts })
  }
  for (const { child, parent, isPartition } of inheritance) {
    put(family, parent, child)
    if (isPartition) put(family, child, parent)
  }
  return { family, parents, children }
}

function put<T> (map: Map<string, T[]>, key: string, value: T): void {
  const values = map.get(key)
  if (values === undefined) map.set(key, [value])
  else values.push(value)
}

// The parts of a type are types, so read until none is new.
async function readTypes (client: SqlClient, wanted: readonly string[]): Promise<TypeRow[]> {
  const types: TypeRow[] = []
  const seen = new Set(wanted)
  for (let added = [...seen]; added.length > 0;) {
    const { rows } = await client.query<TypeRow>(question.types, [added])
    types.push(...rows)
    added = [...new Set(rows.flatMap(({ parts }) => parts))].filter(oid => !seen.has(oid))
    for (const oid of added) seen.add(oid)
  }
  return types.toSorted((a, b) => Number(a.oid) - Number(b.oid))
}
