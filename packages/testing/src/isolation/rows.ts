import type { Tenant } from '@fastify-tenancy/core'
import { randomInt, randomUUID } from 'node:crypto'

import type { Application } from './application.ts'
import type { CatalogColumn, Table } from './catalog.ts'

/** A row of any table. */
export type Row = Readonly<Record<string, unknown>>

/**
 * The application's own values for rows of a table: all or some columns, or a function of the row's
 * number.
 */
export type RowExample = Row | ((n: number) => Row)

/** The rows of one tenant. */
export class TenantRows {
  readonly #app: Application
  readonly #tenant: Tenant
  readonly #tables: readonly Table[]
  readonly #examples: Readonly<Record<string, RowExample>>
  readonly #text: () => string
  #rows: Map<string, Row[]> = new Map()
  /** The rows that the kit wrote, in their original state. */
  readonly planted: Set<string> = new Set()
  #count = 0

  /** @param text returns a text with the tenant's mark */
  constructor (
    app: Application,
    tenant: Tenant,
    tables: readonly Table[],
    examples: Readonly<Record<string, RowExample>>,
    text: () => string
  ) {
    this.#app = app
    this.#tenant = tenant
    this.#tables = tables
    this.#examples = examples
    this.#text = text
  }

  /** Returns the rows of the last read, those of the kit first. */
  of (table: string): readonly Row[] {
    return this.#rows.get(table) ?? []
  }

  /** Returns one row of each table: children of row `n` of their parents. */
  at (n: number): Record<string, Row> {
    const found: Record<string, Row> = {}
    for (const { name } of this.#tables) {
      const rows = this.of(name)
      const row = rows[n % Math.max(rows.length, 1)]
      if (row !== undefined) found[name] = row
    }
    return found
  }

  /** Returns the rows of all tables, by table. */
  all (): Record<string, readonly Row[]> {
    return Object.fromEntries(this.#rows)
  }

  /** Yields every value of every row. */
  *values (): Generator<unknown> {
    for (const rows of this.#rows.values()) for (const row of rows) yield* Object.values(row)
  }

  /**
   * Writes `count` rows into every table, through the handle that the application's requests have.
   *
   * @returns why a table could not be written, by table name
   */
  async plant (count: number): Promise<Map<string, string>> {
    const problems = new Map<string, string>()
    const planted = new Map<string, Row[]>()
    await this.#app.tenancy.run({ id: this.#tenant.id }, async ({ db }) => {
      for (const table of this.#tables) {
        const make = (isFull: boolean, n: number): Row[] =>
          Array.from({ length: n }, (_, at) => this.newRow(table, planted, at, isFull))
        if (table.columns.length === 0 && this.#examples[table.name] === undefined) continue
        let failure: unknown
        for (const [isFull, n] of [[true, count], [false, count], [true, 1], [false, 1]] as const) {
          try {
            const rows = await db.insertInto(table.name).values(make(isFull, n)).returningAll().execute()
            planted.set(table.name, rows)
            for (const row of rows) this.planted.add(stable(row))
            failure = undefined
            break
          } catch (error) {
            failure = error
          }
        }
        if (failure !== undefined)
          problems.set(table.name, failure instanceof Error ? failure.message : String(failure))
      }
    })
    await this.read(planted)
    return problems
  }

  /** Reads all rows again. */
  async read (first: ReadonlyMap<string, Row[]> = this.#rows): Promise<void> {
    const lists = await this.#app.tenancy.run(
      { id: this.#tenant.id },
      ({ db }) =>
        Promise.all(this.#tables.map(({ name }) => db.selectFrom(name).selectAll().limit(2_000).execute()))
    )
    const rows = new Map<string, Row[]>()
    for (const [at, { name }] of this.#tables.entries()) {
      const all: Row[] = lists[at] ?? []
      const texts = new Map(all.map(row => [stable(row), row]))
      const front = (first.get(name) ?? []).map(row => texts.get(stable(row))).filter(row =>
        row !== undefined
      )
      const isFront = new Set(front)
      rows.set(name, [...front, ...all.filter(row => !isFront.has(row))])
    }
    this.#rows = rows
  }

  /** Returns all current rows, to be compared with an earlier picture. */
  async picture (): Promise<Map<string, string[]>> {
    await this.read()
    return new Map([...this.#rows].map(([name, rows]) => [name, rows.map(stable).toSorted()]))
  }

  /** Returns values for one new row. Its parents are rows `at` of `planted`. */
  newRow (table: Table, planted: ReadonlyMap<string, readonly Row[]>, at: number, isFull: boolean): Row {
    this.#count++
    const example = this.#examples[table.name]
    const own = typeof example === 'function' ? example(this.#count) : example ?? {}
    const made: Record<string, unknown> = {}
    for (const column of table.columns) {
      const { name, isRequired, hasDefault, isGenerated } = column
      if (isGenerated || name === table.tenantColumn || name in own) continue
      const reference = table.references.find(({ columns }) => columns.includes(name))
      if (reference !== undefined) {
        const parents = planted.get(reference.parent) ?? this.of(reference.parent)
        const parent = parents[at % Math.max(parents.length, 1)]
        const value = parent?.[reference.parentColumns[reference.columns.indexOf(name)] ?? '']
        if (value !== undefined && reference.parent !== table.name) made[name] = value
      } else if (!hasDefault && (isFull || isRequired)) {
        const value = this.#value(column)
        if (value !== undefined) made[name] = value
      }
    }
    return { ...made, ...own }
  }

  #value ({ name, type, length, labels }: CatalogColumn): unknown {
    if (labels !== null) return labels[0]
    const text = this.#text()
    if (type.startsWith('_')) return '{}'
    if (/^(?:text|varchar|bpchar|citext|name)$/.test(type)) {
      const long = /url|uri|webhook|callback|endpoint/i.test(name)
        ? `http://127.0.0.1:9/${text}`
        : /e?mail/i.test(name)
        ? `${text}@example.com`
        : text
      return length !== null && long.length > length ? text.slice(-length) : long
    }
    if (type === 'json' || type === 'jsonb') return JSON.stringify({ note: text })
    if (type === 'int2') return randomInt(10_000, 32_000)
    if (/^(?:int4|int8|numeric|float8)$/.test(type)) return randomInt(100_000_000, 2_000_000_000)
    return simple[type]?.(text)
  }
}

const simple: Record<string, (text: string) => unknown> = {
  uuid: () => randomUUID(),
  bool: () => true,
  float4: () => 1.5,
  bytea: text => Buffer.from(text),
  date: () => '2026-01-15',
  time: () => '12:00',
  timestamp: () => '2026-01-15 12:00:00',
  timestamptz: () => '2026-01-15T12:00:00Z',
  interval: () => '1 hour',
  inet: () => '192.0.2.1',
  tsvector: text => text,
  xml: text => `<a>${text}</a>`,
  int4range: () => '[1,2)',
  tstzrange: () => '[2026-01-15,2026-01-16)'
}

function stable (row: Row): string {
  return JSON.stringify(row, (_, value: unknown) => typeof value === 'bigint' ? String(value) : value)
}

/**
 * Returns the first row that is not in both pictures, as text.
 *
 * @param planted rows that the kit may have written meanwhile
 */
export function changeBetween (
  before: ReadonlyMap<string, readonly string[]>,
  after: ReadonlyMap<string, readonly string[]>,
  planted: ReadonlySet<string> = new Set()
): { readonly table: string; readonly what: string } | undefined {
  for (const [table, old] of before) {
    const now = after.get(table) ?? []
    const known = new Set(old)
    const left = new Set(now)
    const lost = old.find(row => !left.has(row))
    const added = now.find(row => !known.has(row) && !planted.has(row))
    if (lost !== undefined && added !== undefined) return { table, what: `${lost} became ${added}` }
    if (lost !== undefined) return { table, what: `${lost} is gone` }
    if (added !== undefined) return { table, what: `${added} was added` }
  }
  return undefined
}
