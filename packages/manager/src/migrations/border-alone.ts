import { quoteText, sqlState, type SqlClient } from '@fastify-tenancy/postgres/client'

import { asideFor, assertBorder, borderCode, markBorder, relationShape, nameRelations } from './border.ts'
import type { StatementRunner } from './dialect.ts'
import { transactionWords } from './transaction-words.ts'

/** Prefix of the comment on a tenant's schema. */
const tenantMark = 'fastify-tenancy: tenant '

type Ask = StatementRunner['run']

// active_sql_transaction, invalid_transaction_termination: the statement cannot run inside a
// transaction. It had no effect.
const notWithin = new Set(['25001', '2D000'])

interface Outside {
  readonly name: string
  readonly shape: string
  /** For another tenant's whole schema: when that tenant's migrations last ran there. */
  readonly migrated: string | null
  readonly isTenants: boolean
}

// Relations outside a schema, and the schemas of other tenants as a whole. Sequences count by name
// only, because everyday use advances them.
const outside = (schema: string): string => `
  with spaces as (
    select n.oid, n.nspname, substr(pg_catalog.obj_description(n.oid, 'pg_namespace'), ${
  tenantMark.length + 1
}) as tenant
    from pg_catalog.pg_namespace n
    where n.nspname not in ('pg_catalog', 'information_schema', 'pg_toast', 'tenancy', 'tenancy_ddl', ${
  quoteText(schema)
}) and n.nspname !~ '^pg_(toast_)?temp_'
  )
  select c.oid::text, pg_catalog.format('%I.%I', nspname, c.relname) as name,
    case c.relkind when 'S' then c.relname::text else ${
  relationShape('c')
} end as shape, null as migrated, false as "isTenants"
  from spaces join pg_catalog.pg_class c on c.relnamespace = spaces.oid
  where coalesce(pg_catalog.obj_description(spaces.oid, 'pg_namespace'), '') not like ${
  quoteText(`${tenantMark}%`)
} and c.relkind not in ('i', 'I')
  union all
  select oid::text, pg_catalog.format('schema %I', nspname),
    (
      select pg_catalog.md5(pg_catalog.string_agg(pg_catalog.concat(c.oid, ' ', c.xmin), ',' order by c.oid))
      from pg_catalog.pg_class c where c.relnamespace = spaces.oid
    ),
    (
      select pg_catalog.concat(
        max(greatest(applied_at, tried_at)), bool_or(applied_at is null and error is null)
      )
      from tenancy.migration_ledger where tenant_id = spaces.tenant
    ), true
  from spaces where pg_catalog.obj_description(oid, 'pg_namespace') like ${quoteText(`${tenantMark}%`)}`

// Whether the migration may have changed a relation. Tenants are created, removed and migrated
// concurrently; their managers record that in the ledger.
function isChanged (before: Outside | undefined, now: Outside | undefined): boolean {
  if ((before ?? now)?.isTenants !== true) return before?.shape !== now?.shape
  return before !== undefined && now !== undefined && before.shape !== now.shape &&
    before.migrated === now.migrated &&
    !(now.migrated ?? '').endsWith('t')
}

/**
 * Runs the statements of a tenant's non-transactional migration, each in its own transaction if the
 * server allows it. Then the border is checked before the commit. Statements that cannot run in a
 * transaction (`create index concurrently`, `vacuum`, a procedure that commits) are checked
 * afterwards. That check compares the relations outside the schema with their state before.
 */
export class BorderAlone implements StatementRunner {
  readonly #client: SqlClient
  readonly #schema: string
  readonly #ask: Ask
  /** Whether a transaction that the migration began through Kysely is open. */
  #isWithin = false
  /** Whether the migration sends its own `begin` or `commit`. */
  #isLoose = false
  #before: ReadonlyMap<string, Outside> | undefined
  #last: Promise<unknown> = Promise.resolve()

  readonly #done: () => void

  /** @param done called after each statement whose effect stays if a later one fails */
  constructor (client: SqlClient, { schema, ask, done }: { schema: string; ask: Ask; done: () => void }) {
    this.#client = client
    this.#schema = schema
    this.#ask = ask
    this.#done = done
  }

  /**
   * Runs statements one after the other, because a statement's transaction must not contain another
   * one.
   */
  run (text: string, values: readonly unknown[]): ReturnType<Ask> {
    const turn = this.#last.then(() => this.#run(text, values))
    this.#last = turn.catch(() => {})
    return turn
  }

  async begin (): Promise<void> {
    await this.#client.query('begin')
    this.#isWithin = true
    await this.#mark()
  }

  async commit (): Promise<void> {
    await this.#assert()
    this.#isWithin = false
    await this.#client.query('commit')
    this.#done()
  }

  async rollback (): Promise<void> {
    this.#isWithin = false
    await this.#client.query('rollback')
  }

  /** @throws if statements outside a transaction changed a relation outside the schema */
  async assertUnchanged (): Promise<void> {
    if (this.#before === undefined) return
    const now = await this.#outside()
    const before = this.#before
    const changed = [...before, ...now].filter(([oid]) => isChanged(before.get(oid), now.get(oid)))
      .map(([, { name }]) => name)
    if (changed.length === 0) return
    throw Object.assign(
      new Error(
        `while the migration ran, ${
          [...new Set(changed)].toSorted().join(', ')
        } changed outside the tenant's schema ${this.#schema}. This cannot be rolled back: check what it ` +
          "did there. Name the tenant's own tables, or move these statements to the shared migrations"
      ),
      { code: borderCode }
    )
  }

  async #run (text: string, values: readonly unknown[]): ReturnType<Ask> {
    if (this.#isWithin) return this.#ask(text, values)
    if (transactionWords(text) !== undefined) this.#isLoose = true
    if (this.#isLoose || /\bconcurrently\b/i.test(text)) return this.#runBare(text, values)
    try {
      await this.#client.query('begin')
      await this.#mark()
      const result = await this.#ask(text, values)
      await this.#assert()
      await this.#client.query('commit')
      if (result.command !== 'SET') this.#done()
      return result
    } catch (error) {
      await this.#client.query('rollback').catch(() => {})
      if (notWithin.has(sqlState(error) ?? '')) return this.#runBare(text, values)
      throw sqlState(error) === borderCode ? await nameRelations(this.#client, error as Error) : error
    }
  }

  async #runBare (text: string, values: readonly unknown[]): ReturnType<Ask> {
    // Inside a transaction of the migration, both this read and the one at the end see its changes.
    this.#before ??= await this.#outside()
    const result = await this.#ask(text, values)
    this.#done()
    return result
  }

  // Restores the search path afterwards, because the migration may have set its own.
  async #mark (): Promise<void> {
    await this.#client.query(
      ["select pg_catalog.set_config('tenancy.path', pg_catalog.current_setting('search_path'), true)",
        ...asideFor(markBorder(this.#schema)),
        "select pg_catalog.set_config('search_path', pg_catalog.current_setting('tenancy.path'), true)"].join(
          ';\n'
        )
    )
  }

  async #assert (): Promise<void> {
    await this.#client.query(asideFor(assertBorder(this.#schema)).join(';\n'))
  }

  async #outside (): Promise<Map<string, Outside>> {
    const { rows } = await this.#client.query<Outside & { oid: string }>(outside(this.#schema))
    return new Map(rows.map(row => [row.oid, row]))
  }
}
