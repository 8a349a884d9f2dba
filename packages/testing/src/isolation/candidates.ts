import { primaryKeyOf, type Table } from './catalog.ts'
import type { Identity } from './identity.ts'
import { mutated } from './mutated.ts'
import type { Route } from './route-table.ts'
import type { Row } from './rows.ts'
import type { Slot } from './schema.ts'

/** A value for a slot, and its source. */
export interface Candidate {
  readonly value: unknown
  /** `'projects.id'` */
  readonly of: string
  /** Undefined for a value that is not in a row. */
  readonly table: string | undefined
  readonly column: string | undefined
}

/** Maximum number of values per slot. */
const maxCandidates = 40
const idWords = new Set(['id', 'uuid', 'key', 'ref', 'slug', 'code', 'number', 'no', 'handle'])
const uuid = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i

/**
 * Returns a tenant's values for a slot, the likeliest first, judged by the names of slot, URL,
 * tables and columns.
 */
export function candidatesFor (
  route: Route,
  slot: Slot,
  who: Identity,
  tables: readonly Table[],
  n: number
): Candidate[] {
  if (slot.kind === 'other') return []
  const rows = who.rows.at(n)
  // Take texts from other rows. A sent text counts as known to the attacker, so it must not be the
  // text that a sent key would reveal.
  const texts = who.rows.at(n + 31)
  const found: Candidate[] = []
  const add = (table: Table | undefined, row: Row | undefined, column: string): void => {
    const value = row?.[column]
    if (table !== undefined && fits(slot, value))
      found.push({ value: typed(slot, value), of: `${table.name}.${column}`, table: table.name, column })
  }
  for (const { table, column } of affinities(route, slot, tables, rows))
    add(
      table,
      (primaryKeyOf(table, rows[table.name] ?? {}).includes(column) ? rows : texts)[table.name],
      column
    )
  for (const table of tables)
    for (const column of primaryKeyOf(table, rows[table.name] ?? {})) add(table, rows[table.name], column)
  const { id, slug } = who.tenant
  for (
    const [of, value] of [['tenant.id', id], ['tenant.slug', slug], ["a part of the victim's texts",
      who.secrets.mark]] as const
  )
    if (fits(slot, value)) found.push({ value, of, table: undefined, column: undefined })
  const near = nearTable(route, slot, tables)
  for (const column of Object.keys(rows[near?.name ?? ''] ?? {}))
    if (column !== near?.tenantColumn) add(near, texts[near?.name ?? ''], column)
  const seen = new Set<string>()
  return found.filter(({ value }) => {
    const isNew = !seen.has(String(value))
    seen.add(String(value))
    return isNew
  }).slice(0, maxCandidates)
}

/**
 * Returns values that could widen the result of a route: flags, wildcards, SQL. They belong to no
 * tenant.
 */
export function wideningFor ({ kind, isFixed, in: part }: Slot): readonly string[] {
  return (kind === 'any' || kind === 'text') && !isFixed && part !== 'headers' ? widening : []
}

const widening = ['true', '1', 'all', '*', '%', "' or '1'='1"]

/** Returns the value of a slot in a tenant's own request, or undefined to keep the sample. */
export function ownValue (
  route: Route,
  slot: Slot,
  who: Identity,
  tables: readonly Table[],
  n: number
): unknown {
  const last = wordsOf(nameOfSlot(slot)).at(-1) ?? ''
  if (slot.in !== 'params' && !idWords.has(last) && slot.kind !== 'uuid') return undefined
  const rows = who.rows.at(n)
  for (const { table, column } of affinities(route, slot, tables, rows)) {
    const value = rows[table.name]?.[column]
    if (fits(slot, value)) return typed(slot, value)
  }
  return undefined
}

/** Returns two values of the same shape that no tenant has. */
export function twinsOf (value: unknown): [unknown, unknown] {
  return [mutated(value) ?? value, mutated(value) ?? value]
}

/** Returns the shape of a value. Values of one shape can be compared with the same twins. */
export function valueShape (value: unknown): string {
  const text = String(value)
  return uuid.test(text)
    ? 'uuid'
    : `${typeof value} ${text.replaceAll(/[a-z]/gi, 'a').replaceAll(/\d/g, '9')}`
}

function affinities (
  route: Route,
  slot: Slot,
  tables: readonly Table[],
  rows: Readonly<Record<string, Row>>
): { readonly table: Table; readonly column: string }[] {
  const words = wordsOf(nameOfSlot(slot))
  const last = words.at(-1) ?? ''
  const near = nearTable(route, slot, tables)
  const found: { readonly table: Table; readonly column: string }[] = []
  const columnsOf = (table: Table): string[] =>
    Object.keys(rows[table.name] ?? {}).filter(name => name !== table.tenantColumn)
  const named = (table: Table | undefined): void => {
    const column = table && columnsOf(table).find(name => wordsOf(name).join() === words.join())
    if (table !== undefined && column !== undefined) found.push({ table, column })
  }
  if (near !== undefined && (idWords.has(last) || slot.in === 'params')) {
    const own = columnsOf(near).find(name => wordsOf(name).join() === last)
    for (const column of own === undefined ? primaryKeyOf(near, rows[near.name] ?? {}) : [own])
      found.push({ table: near, column })
  }
  named(near)
  for (const table of tables) named(table)
  return found
}

/** Returns the table that a slot refers to: `projectId`, or the `:id` of `/projects/:id`. */
function nearTable ({ url }: Route, slot: Slot, tables: readonly Table[]): Table | undefined {
  const words = wordsOf(nameOfSlot(slot)).filter(word => !idWords.has(word))
  const steps = url.split('/')
  const at = slot.in === 'params'
    ? steps.findIndex(step => step.includes(`:${nameOfSlot(slot)}`))
    : steps.length
  const before = steps.slice(0, at < 0 ? steps.length : at).filter(step =>
    step !== '' && !step.startsWith(':')
  )
  const byName = (wanted: readonly string[]): Table | undefined =>
    wanted.length === 0 ? undefined : tables.find(({ name }) => wordsOf(name).join() === wanted.join()) ??
      tables.find(({ name }) => wordsOf(name).at(-1) === wanted.at(-1))
  return byName(words) ??
    before.toReversed().map(step => byName(wordsOf(step))).find(table => table !== undefined)
}

function nameOfSlot ({ path }: Slot): string {
  return String(path.findLast(step => typeof step === 'string') ?? '')
}

/** `'projectIds'` → `['project', 'id']` */
function wordsOf (name: string): string[] {
  return name.replaceAll(/([a-z0-9])([A-Z])/g, '$1 $2').toLowerCase().split(/[^a-z0-9]+/).filter(Boolean).map(
    word =>
      word.endsWith('ies')
        ? `${word.slice(0, -3)}y`
        : word.length > 3 && word.endsWith('s') && !word.endsWith('ss')
        ? word.slice(0, -1)
        : word === 'ids'
        ? 'id'
        : word
  )
}

function fits ({ kind, isFixed }: Slot, value: unknown): boolean {
  if (value === null || value === undefined || typeof value === 'object' || typeof value === 'boolean')
    return false
  if (kind === 'uuid') return uuid.test(String(value))
  if (kind === 'integer' || kind === 'number') return /^-?\d{1,15}$/.test(String(value))
  return kind === 'any' || (kind === 'text' && !isFixed && typeof value === 'string')
}

// Converts to a number if needed, because a bigint arrives as text.
function typed ({ kind }: Slot, value: unknown): unknown {
  return kind === 'integer' || kind === 'number' ? Number(value) : value
}
