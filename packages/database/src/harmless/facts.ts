import type { Types } from './types.ts'

export interface RelationRow {
  readonly oid: string
  readonly schema: string
  readonly name: string
  /** The type of the table's rows. */
  readonly type: string
  readonly isTable: boolean
  readonly hasRules: boolean
  readonly hasTriggers: boolean
  /** Whether pg_catalog has a relation of this name, which an unqualified name would mean. */
  readonly isHidden: boolean
}

/** A user-defined function, operator or type that has the name of a built-in one. */
export interface NameRow {
  readonly schema: string
  readonly name: string
  readonly types: readonly string[]
  readonly isCompiled: boolean
}

/** The facts of one table, without those of tables that it reaches. */
export interface Relation {
  readonly oid: string
  readonly isHidden: boolean
  readonly columns: ReadonlySet<string>
  /** Whether reading its rows runs no user-defined code. */
  readonly isReadable: boolean
  /** Whether writing its rows runs no user-defined code beyond that of reading them. */
  readonly isWritable: boolean
}

/** The tables that a statement on one table can reach. */
export interface Edges {
  /** Partitions and inheritance children of a table, and the parent of a partition. */
  readonly family: ReadonlyMap<string, readonly string[]>
  /** The tables that its foreign keys reference. */
  readonly parents: ReadonlyMap<string, readonly string[]>
  /** The tables that its policies read. */
  readonly read: ReadonlyMap<string, readonly string[]>
  /**
   * The tables whose foreign keys reference it. `acts` is true if a change of the parent changes
   * the child.
   */
  readonly children: ReadonlyMap<string, readonly { readonly child: string; readonly acts: boolean }[]>
}

/** How a statement uses a table. `change` is anything that may update or delete an existing row. */
export type Use = 'read' | 'insert' | 'change'

/**
 * The facts of one schema's tables, and of everything that a statement on them can reach.
 * Immutable.
 */
export class Facts {
  readonly #relations: ReadonlyMap<string, Relation>
  readonly #names: ReadonlyMap<string, string>
  readonly #edges: Edges
  readonly #verdicts = new Map<string, boolean>()
  /** The names in each schema under which a call or an operator can run user-defined code. */
  readonly #functions: ReadonlyMap<string, ReadonlySet<string>>
  readonly #operators: ReadonlyMap<string, ReadonlySet<string>>
  /** The names in each schema by which `item.name` can be a call. */
  readonly #calls: ReadonlyMap<string, ReadonlySet<string>>
  readonly #results: ReadonlyMap<string, readonly (readonly string[] | null)[]>
  /**
   * Whether a built-in type has user-defined casts or operators, so that any expression can run
   * that code.
   */
  readonly isTainted: boolean

  constructor (parts: {
    readonly relations: ReadonlyMap<string, Relation>
    readonly names: ReadonlyMap<string, string>
    readonly edges: Edges
    readonly functions: readonly NameRow[]
    readonly operators: readonly NameRow[]
    readonly calls: ReadonlyMap<string, ReadonlySet<string>>
    readonly results: ReadonlyMap<string, readonly (readonly string[] | null)[]>
    readonly types: Types
    readonly isTainted: boolean
  }) {
    this.#relations = parts.relations
    this.#names = parts.names
    this.#edges = parts.edges
    const isHarmful = ({ isCompiled, types }: NameRow): boolean =>
      !isCompiled || types.some(type => parts.types.isTainted(type))
    this.#functions = bySchema(parts.functions.filter(isHarmful))
    this.#operators = bySchema(parts.operators.filter(isHarmful))
    this.#calls = parts.calls
    this.#results = parts.results
    this.isTainted = parts.isTainted
  }

  /** Returns the columns of a table; undefined if the table is unknown. */
  columns (schema: string, table: string): ReadonlySet<string> | undefined {
    return this.#relation(schema, table)?.columns
  }

  /** Whether an unqualified name means a relation of pg_catalog. */
  isHidden (schema: string, table: string): boolean {
    return this.#relation(schema, table)?.isHidden ?? true
  }

  /** Returns the result columns of each listed function with this name; null for a single value. */
  results (name: string): readonly (readonly string[] | null)[] {
    return this.#results.get(name) ?? []
  }

  isHarmlessFunction (name: string, path: readonly string[]): boolean {
    return !path.some(schema => this.#functions.get(schema)?.has(name))
  }

  isHarmlessOperator (name: string, path: readonly string[]): boolean {
    return !path.some(schema => this.#operators.get(schema)?.has(name))
  }

  /** Whether `item.name` can be a function call or a cast, if `name` is no column. */
  isCall (name: string, path: readonly string[]): boolean {
    return path.some(schema => this.#calls.get(schema)?.has(name))
  }

  /** Whether a use of a table runs no user-defined code in any table that it reaches. */
  isHarmlessUse (schema: string, table: string, use: Use): boolean {
    const key = `${use} ${schema} ${table}`
    const known = this.#verdicts.get(key)
    if (known !== undefined) return known
    const oid = this.#names.get(nameKey(schema, table))
    const isHarmless = oid !== undefined && this.#reach(oid, use)
    this.#verdicts.set(key, isHarmless)
    return isHarmless
  }

  #relation (schema: string, table: string): Relation | undefined {
    return this.#relations.get(this.#names.get(nameKey(schema, table)) ?? '')
  }

  // Visits each pair of table and use once, so that cycles of foreign keys end.
  #reach (start: string, startUse: Use): boolean {
    const seen = new Set<string>()
    const waiting: [string, Use][] = [[start, startUse]]
    const go = (oids: readonly string[] = [], use: Use): void => {
      waiting.push(...oids.map((oid): [string, Use] => [oid, use]))
    }
    for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
      const [oid, use] = next
      if (seen.has(`${use} ${oid}`)) continue
      seen.add(`${use} ${oid}`)
      const relation = this.#relations.get(oid)
      if (relation === undefined || !relation.isReadable || (use !== 'read' && !relation.isWritable))
        return false
      go(this.#edges.family.get(oid), use)
      go(this.#edges.read.get(oid), 'read')
      if (use === 'read') continue
      go(this.#edges.parents.get(oid), 'read')
      if (use === 'insert') continue
      for (const { child, acts } of this.#edges.children.get(oid) ?? []) go([child], acts ? 'change' : 'read')
    }
    return true
  }
}

/** Returns a key for a table in a schema. NUL separates them, because no name can contain it. */
export function nameKey (schema: string, table: string): string {
  return `${schema}\0${table}`
}

function bySchema (rows: readonly NameRow[]): ReadonlyMap<string, ReadonlySet<string>> {
  const schemas = new Map<string, Set<string>>()
  for (const { schema, name } of rows) {
    const names = schemas.get(schema) ?? new Set()
    schemas.set(schema, names.add(name))
  }
  return schemas
}
