import { quoteName, quoteText } from '@fastify-tenancy/postgres/client'
import type { TableFacts, TenantColumnType } from '@fastify-tenancy/postgres/tables'

import { checkName, markOf, triggerNames, type PrepareFacts } from './inspect.ts'
import type { BackfillSource } from './source.ts'

/**
 * One change of a table, complete in itself. An interrupted run resumes from the state of the
 * catalog.
 */
interface AdoptionStep {
  readonly name: string
  readonly sql: string
  /**
   * Whether readers or writers queue behind it while it waits for its lock, so that the wait must
   * be short.
   */
  readonly isBlocking: boolean
}

/** Fills the column of existing rows; `'redo backfill'` those that an earlier rule filled. */
export interface FillStep {
  readonly name: 'backfill' | 'redo backfill'
  readonly leaves: readonly string[]
  /**
   * Returns the statement for one chunk, between two positions in the table: `'(128,0)'`, or SQL
   * that returns one.
   */
  readonly update: (leaf: string, from: string, to: string) => string
  /** Returns a query that finds a row which is not filled but can be. */
  readonly rest: (leaf: string) => string
}

export interface TableToPrepare {
  readonly table: string
  readonly column: string
  readonly type: TenantColumnType
  readonly facts: TableFacts
  readonly found: PrepareFacts
  /** Undefined if the rows have their tenants already. */
  readonly source: BackfillSource | undefined
  /**
   * Expressions of earlier rules, if rows that they filled must be filled again: see `markStep`.
   */
  readonly redo: readonly string[] | undefined
}

/**
 * Returns the earlier rules of a table whose own rule or whose parent's rule has changed; undefined
 * if no row must be filled again.
 */
export function redoOf (
  { table, column, found, source }: Omit<TableToPrepare, 'redo'>,
  isParentRedone: boolean
): readonly string[] | undefined {
  if (source === undefined || found.isEnforced || found.fill === undefined) return undefined
  if (found.fill === argumentsOf(column, source, table)) return isParentRedone ? found.redo ?? [] : found.redo
  const [, earlier = ''] = Buffer.from(found.fill, 'hex').toString().split('\0')
  return [...found.redo ?? [], earlier]
}

/**
 * Returns the step that applies the new rule to new rows, and records that rows of the earlier rule
 * must be filled again. It runs for all tables first. So children are filled again even if the
 * process dies after their parent.
 */
export function markStep (
  { table, column, facts: { name }, source, redo = [] }: TableToPrepare
): AdoptionStep | undefined {
  if (source === undefined) return undefined
  return {
    name: 'fill new rows',
    sql: `${triggers(name, column, source, table)};
    comment on trigger ${triggerNames.fill} on ${name} is ${quoteText(markOf(redo))}`,
    isBlocking: true
  }
}

/**
 * Returns the remaining steps of a table. None of them rewrites it, reads it under a lock that
 * blocks writers, or waits long for such a lock.
 *
 * ```sql
 * alter table "public"."tasks" add column "tenant_id" uuid;
 * create trigger tenancy_fill before insert on "public"."tasks" …;      -- for legacy code
 * update … set "tenant_id" = … ;                                        -- chunk by chunk
 * alter table "public"."tasks" add constraint tenancy_filled check ("tenant_id" is not null) not valid;
 * alter table "public"."tasks" validate constraint tenancy_filled;
 * alter table "public"."tasks" alter column "tenant_id" set not null;   -- reads no row, because of the check
 * alter table "public"."tasks" drop constraint tenancy_filled;
 * create index concurrently on "public"."tasks" ("tenant_id");
 * ```
 */
export function stepsOf (
  { table, column, type, facts: { name }, found, source, redo }: TableToPrepare
): (AdoptionStep | FillStep)[] {
  const quoted = quoteName(column)
  const steps: (AdoptionStep | FillStep)[] = []
  const blocking = (step: string, sql: string): void => {
    steps.push({ name: step, sql, isBlocking: true })
  }
  const retried = (step: string, sql: string): void => {
    steps.push({ name: step, sql, isBlocking: false })
  }
  if (found.type === undefined) blocking('add column', `alter table ${name} add column ${quoted} ${type}`)
  if (
    source !== undefined && redo === undefined && !found.isEnforced &&
    found.fill !== argumentsOf(column, source, table)
  )
    blocking('fill new rows', triggers(name, column, source, table))
  if (!found.isRequired) {
    if (source !== undefined) steps.push(fill(table, quoted, type, found.leaves, source))
    if (found.check === 'none') {
      retried(
        'all rows have a tenant',
        assertion(
          `select from ${name} where ${quoted} is null`,
          `rows of ${table} have no tenant, because options.adoption.backfill.${table} is null for them`
        )
      )
      blocking(
        'add check',
        `alter table ${name} add constraint ${checkName} check (${quoted} is not null) not valid`
      )
    }
    if (found.check !== 'validated')
      retried('validate check', `alter table ${name} validate constraint ${checkName}`)
    // Two statements in one transaction: a single statement would drop the check before `set not
    // null` could use it as proof.
    blocking(
      'set not null',
      `alter table ${name} alter column ${quoted} set not null; ` +
        `alter table ${name} drop constraint ${checkName}`
    )
  }
  if (source !== undefined && redo !== undefined) {
    steps.push(refill(table, quoted, type, found.leaves, source, redo))
    blocking('rule applied', `comment on trigger ${triggerNames.fill} on ${name} is null`)
  }
  if (!found.isIndexed) {
    for (const index of found.invalidIndexes)
      retried('drop invalid index', `drop index concurrently ${index}`)
    for (const leaf of found.leaves)
      retried('create index', `create index concurrently on ${leaf} (${quoted})`)
    // Attaches the partitions' indexes without reading rows.
    if (found.isPartitioned) blocking('create index', `create index on ${name} (${quoted})`)
  }
  return steps
}

/** Returns a statement that fails with `message` if the query finds a row. */
export function assertion (query: string, message: string): string {
  return `do $tenancy$ begin if exists (${query}) then
    raise exception using errcode = 'check_violation', message = ${quoteText(message)}; end if; end $tenancy$`
}

// Returns a trigger's arguments in the format of the catalog.
function argumentsOf (column: string, { expression }: BackfillSource, table: string): string {
  return Buffer.from([column, expression, table].map(argument => `${argument}\0`).join('')).toString('hex')
}

function triggers (
  name: string,
  column: string,
  { expression, keyColumns }: BackfillSource,
  table: string
): string {
  const quoted = quoteName(column)
  const call = `execute function tenancy.fill_tenant(${
    [column, expression, table].map(quoteText).join(', ')
  })`
  const insert = `
    drop trigger if exists ${triggerNames.fill} on ${name};
    drop trigger if exists ${triggerNames.refill} on ${name};
    create trigger ${triggerNames.fill} before insert on ${name}
      for each row when (new.${quoted} is null) ${call}`
  if (keyColumns.length === 0) return insert
  const changed = keyColumns.map(key => `new.${quoteName(key)} is distinct from old.${quoteName(key)}`).join(
    ' or '
  )
  return `${insert};
    create trigger ${triggerNames.refill} before update of ${
    keyColumns.map(quoteName).join(', ')
  } on ${name} for each row
      when ((${changed}) and new.${quoted} is not distinct from old.${quoted}) ${call}`
}

// Locked rows are left for the next round, so that neither the application nor the backfill waits.
function fill (
  table: string,
  column: string,
  type: TenantColumnType,
  leaves: readonly string[],
  { expression }: BackfillSource
): FillStep {
  return fillWhere('backfill', {
    alias: quoteName(table),
    column,
    value: `${expression}::${type}`,
    leaves,
    condition: `${column} is null and ${expression} is not null`
  })
}

// A row that new code wrote with its tenant keeps it, because no earlier rule yields this tenant. A
// child always takes its parent's.
function refill (
  table: string,
  column: string,
  type: TenantColumnType,
  leaves: readonly string[],
  { expression, parent }: BackfillSource,
  redo: readonly string[]
): FillStep {
  const value = `${expression}::${type}`
  const earlier = redo.map(rule => `${column} = ${rule}::${type}`).join(' or ') || 'false'
  return fillWhere('redo backfill', {
    alias: quoteName(table),
    column,
    value,
    leaves,
    condition: `${
      parent === undefined ? `(${earlier}) and ` : ''
    }${column} is distinct from ${value} and ${expression} is not null`
  })
}

interface Filling {
  readonly alias: string
  readonly column: string
  readonly value: string
  readonly leaves: readonly string[]
  readonly condition: string
}

function fillWhere (
  name: FillStep['name'],
  { alias, column, value, leaves, condition }: Filling
): FillStep {
  return {
    name,
    leaves,
    update: (leaf, from, to) =>
      `update ${leaf} ${alias} set ${column} = ${value} where ctid = any(array(
      select ctid from ${leaf} ${alias} where ctid >= ${from}::tid and ctid < ${to}::tid and ${condition}
      for no key update of ${alias} skip locked))`,
    rest: leaf => `select from ${leaf} ${alias} where ${condition}`
  }
}
