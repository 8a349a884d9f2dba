import type { Types } from './types.ts'

export interface RelationRow {
  readonly oid: string
  readonly schema: string
  readonly name: string
  /** The type of its rows. */
  readonly type: string
  readonly isTable: boolean
  readonly hasRules: boolean
  readonly hasTriggers: boolean
  /** Whether pg_catalog has a relation of the name, which comes first where no schema is named. */
  readonly isHidden: boolean
}

/** A function, operator or type of a user's, under the name of one of the server's own. */
export interface NameRow {
  readonly schema: string
  readonly name: string
  readonly types: readonly string[]
  readonly isCompiled: boolean
}

/** One table, with what is known of itself alone. */
export interface Relation {
  readonly oid: string
  readonly isHidden: boolean
  readonly columns: ReadonlySet<string>
  /** Whether reading its own rows runs no code of a user's. */
  readonly isReadable: boolean
  /** Whether writing its own rows runs none, if reading does not. */
  readonly isWritable: boolean
}

/** Where the effects of a statement on one table go. */
export interface Edges {
  /** Partitions and children by inheritance; from a partition to what it is part of. */
  readonly family: ReadonlyMap<string, readonly string[]>
  /** The tables that its foreign keys refer to. */
  readonly parents: ReadonlyMap<string, readonly string[]>
  /** The tables that its policies read. */
  readonly read: ReadonlyMap<string, readonly string[]>
  /** The tables whose foreign keys refer to it. */
  readonly children: ReadonlyMap<string, readonly { readonly child: string; readonly acts: boolean }[]>
}

/** What a statement does with a table. `change` is everything that may change or delete a row that is there. */
export type Use = 'read' | 'insert' | 'change'

/** What the catalog says of one schema's tables, and of all that a statement on them can reach. Never changed. */
export class Facts {
  readonly #relations: ReadonlyMap<string, Relation>
  readonly #names: ReadonlyMap<string, string>
  readonly #edges: Edges
  readonly #verdicts = new Map<string, boolean>()
  /** The names in each schema under which a call or an operator can run code of a user's. */
  readonly #functions: ReadonlyMap<string, ReadonlySet<string>>
  readonly #operators: ReadonlyMap<string, ReadonlySet<string>>
  /** The names in each schema by which `item.name` can be a call. */
  readonly #calls: ReadonlyMap<string, ReadonlySet<string>>
  readonly #results: ReadonlyMap<string, readonly (readonly string[] | null)[]>
  /** Whether a type of the server's own has casts or operators in a user's code, so that any expression can run it. */
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

  /** The columns of a table; undefined where it is not known. */
  columns (schema: string, table: string): ReadonlySet<string> | undefined {
    return this.#relation(schema, table)?.columns
  }

  /** Whether a name without a schema means a relation of pg_catalog. */
  isHidden (schema: string, table: string): boolean {
    return this.#relation(schema, table)?.isHidden ?? true
  }

  /** The columns that each function of this name returns, of those that the application lists; null for a single value. */
  results (name: string): readonly (readonly string[] | null)[] {
    return this.#results.get(name) ?? []
  }

  isHarmlessFunction (name: string, path: readonly string[]): boolean {
    return !path.some(schema => this.#functions.get(schema)?.has(name))
  }

  isHarmlessOperator (name: string, path: readonly string[]): boolean {
    return !path.some(schema => this.#operators.get(schema)?.has(name))
  }

  /** Whether `item.name` can be a call of a function or a cast to a type, where `name` is no column. */
  isCall (name: string, path: readonly string[]): boolean {
    return path.some(schema => this.#calls.get(schema)?.has(name))
  }

  /** Whether a use of a table runs no code of a user's, in any table that it reaches. */
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

  // Each pair of a table and a use is visited once, however the foreign keys run in circles.
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

/** A key for a table's name in its schema. Neither can contain NUL. */
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
