import type { Tenant } from '@fastify-tenancy/core'
import { randomInt, randomUUID } from 'node:crypto'
import { sql } from 'kysely'

import type { Application, Database } from './application.ts'
import { primaryKeyOf, type Table } from './catalog.ts'
import type { Findings } from './findings.ts'
import type { Row, TenantRows } from './rows.ts'
import type { Secrets } from './secrets.ts'

/** An attack on a victim's rows. */
interface TableAttack {
  readonly app: Application
  readonly tables: readonly Table[]
  readonly attacker: Tenant
  /** The attacker's own rows. */
  readonly own: TenantRows
  readonly victim: Tenant
  readonly target: TenantRows
  readonly secrets: Secrets
  readonly findings: Findings
  /**
   * Whether each kind of attack was reported, of those that reached a row. The kit's proof of itself
   * reads it.
   */
  readonly kinds?: Map<string, boolean>
}

class Rollback extends Error {}

/** Tries every table of the victim through a handle of the attacker. */
export async function attackTables (attack: TableAttack): Promise<void> {
  for (const table of attack.tables) await new TableAttempt(attack, table).run()
}

class TableAttempt {
  readonly #attack: TableAttack
  readonly #table: Table
  readonly #name: string

  constructor (attack: TableAttack, table: Table) {
    this.#attack = attack
    this.#table = table
    this.#name = `table ${table.name}`
  }

  async run (): Promise<void> {
    const { findings, app, attacker } = this.#attack
    const line = findings.of(this.#name)
    const [row, second] = this.#victimRows()
    if (row === undefined) {
      line.problem = 'the victim has no row there of its own: seed one, or set one in options.tables'
      return
    }
    await app.tenancy.run({ id: attacker.id }, async ({ db }) => {
      await this.#read(db, row)
      await this.#oracles(db, row)
      await this.#write(db, second ?? row)
    })
  }

  /**
   * Returns rows whose keys the attacker does not have. Both tenants may have the same natural key,
   * such as a country.
   */
  #victimRows (): readonly Row[] {
    const { own, target, attacker, victim } = this.#attack
    if (attacker.id === victim.id) return target.of(this.#table.name)
    const keyText = (row: Row): string =>
      JSON.stringify(primaryKeyOf(this.#table, row).map(name => String(row[name])))
    const taken = new Set(own.of(this.#table.name).map(keyText))
    return target.of(this.#table.name).filter(row => !taken.has(keyText(row)))
  }

  async #read (db: Database, row: Row): Promise<void> {
    const { name, tenantColumn, references } = this.#table
    const keys = this.#where(row)
    const table = sql.table(name)
    await this.#sees('select', () => db.selectFrom(name).selectAll().execute())
    await this.#sees(
      'select by key',
      () => db.selectFrom(name).selectAll().where(eb => eb.and(keys)).execute(),
      true
    )
    await this.#counts(
      'count by key',
      () => db.selectFrom(name).select(eb => eb.fn.countAll().as('n')).where(eb => eb.and(keys)).execute()
    )
    await this.#sees(
      'join',
      () =>
        db.selectFrom(`${name} as a`).innerJoin(`${name} as b`, join => join.onTrue()).selectAll('b').limit(
          2_000
        ).execute()
    )
    for (const { parent, columns, parentColumns } of references) {
      await this.#sees(
        `join with ${parent}`,
        () =>
          db.selectFrom(`${parent} as p`).innerJoin(
            `${name} as c`,
            join =>
              columns.reduce(
                (on, column, at) => on.onRef(`c.${column}`, '=', `p.${parentColumns[at] ?? ''}`),
                join
              )
          )
            .selectAll().execute()
      )
    }
    await this.#sees(
      'sub-query',
      () => db.selectFrom(eb => eb.selectFrom(name).selectAll().as('inner')).selectAll().execute()
    )
    await this.#sees(
      'with',
      () =>
        db.with('inner', with_ => with_.selectFrom(name).selectAll()).selectFrom('inner').selectAll()
          .execute()
    )
    await this.#sees('raw SQL', async () => (await sql<Row>`select * from ${table}`.execute(db)).rows)
    await this.#sees(
      'raw union',
      async () => (await sql<Row>`select * from ${table} union all select * from ${table}`.execute(db)).rows
    )
    if (tenantColumn !== undefined) {
      const { victim } = this.#attack
      await this.#sees(
        "raw SQL with the victim's id",
        async () =>
          (await sql<Row>`select * from ${table} where ${sql.ref(tenantColumn)}::text = ${victim.id}`.execute(
            db
          )).rows,
        true
      )
    }
  }

  async #write (db: Database, row: Row): Promise<void> {
    const { name, tenantColumn } = this.#table
    const keys = this.#where(row)
    const column = this.#plainColumn(row)
    if (column !== undefined) {
      await this.#changes(
        'update',
        async () =>
          (await db.updateTable(name).set({ [column]: row[column] }).where(eb => eb.and(keys))
            .executeTakeFirst()).numUpdatedRows
      )
    }
    await this.#changes(
      'delete',
      () =>
        this.#undone(
          db,
          async trx =>
            (await trx.deleteFrom(name).where(eb => eb.and(keys)).executeTakeFirst()).numDeletedRows
        )
    )
    const fresh = this.#fresh(row)
    if (tenantColumn !== undefined) {
      const { victim } = this.#attack
      await this.#sees(
        'insert for the victim',
        () =>
          this.#undone(
            db,
            trx =>
              trx.insertInto(name).values({ ...fresh, [tenantColumn]: victim.id }).returningAll().execute()
          ),
        true
      )
      await this.#changes('update to the victim', () =>
        this.#undone(db, async trx => {
          await trx.insertInto(name).values(fresh).execute()
          return (await trx.updateTable(name).set({ [tenantColumn]: victim.id }).where(eb =>
            eb.and(this.#where(fresh))
          )
            .executeTakeFirst()).numUpdatedRows
        }))
    }
    const { secrets } = this.#attack
    const primary = this.#table.columns.filter(({ isKey }) => isKey).map(each => each.name)
    if (column !== undefined && primary.length > 0) {
      // Not rolled back, so that a later comparison of the victim's rows shows a change.
      await this.#attempt('upsert', async () => {
        secrets.giveAway(JSON.stringify(row))
        await db.insertInto(name).values(this.#insertable(row)).onConflict(oc =>
          oc.columns(primary).doUpdateSet({
            [column]: this.#attack.own.newRow(this.#table, new Map(), 1, true)[column] ?? row[column]
          })
        ).execute()
      })
    }
  }

  /**
   * Tests whether the result of an insert reveals that the victim has a value, or lets the attacker
   * refer to the victim's row.
   */
  async #oracles (db: Database, row: Row): Promise<void> {
    const { columns, tenantColumn, references, name } = this.#table
    const names = columns.length > 0
      ? columns.filter(each => !each.isGenerated).map(each => each.name)
      : Object.keys(row)
    for (const column of names) {
      const value = row[column]
      if (column === tenantColumn || value === null || value === undefined || typeof value === 'boolean')
        continue
      if (this.#attack.own.of(name).some(own => String(own[column]) === String(value))) continue
      const twin = mutated(value)
      if (twin === undefined) continue
      const isReference = references.some(each => each.columns.includes(column))
      const [withTheirs, withNone] = [await this.#outcome(db, { [column]: value }),
        await this.#outcome(db, { [column]: twin })]
      if (withTheirs === withNone) continue
      if (withTheirs === '23505')
        this.#leak(
          `unique oracle on ${column}`,
          `inserting the victim's ${column} ${
            String(value)
          } violates a unique constraint: the attacker learns that it exists`
        )
      else if (isReference && withTheirs === 'done')
        this.#leak(
          `foreign key ${column}`,
          `a row of the attacker can refer to the victim's ${column} ${String(value)}`
        )
    }
  }

  async #outcome (db: Database, change: Row): Promise<string> {
    const base = this.#table.columns.length > 0
      ? this.#attack.own.newRow(this.#table, new Map(), 0, true)
      : this.#fresh(this.#attack.own.of(this.#table.name)[0] ?? {})
    let outcome = 'done'
    await this.#attempt('oracle', () =>
      this.#undone(db, async trx => {
        await trx.insertInto(this.#table.name).values({ ...base, ...change }).execute()
      }).catch((error: unknown) => {
        outcome = String((error as { code?: unknown }).code ?? 'failed')
      }))
    return outcome
  }

  async #sees (
    attack: string,
    query: () => Promise<readonly Row[] | undefined>,
    isAnyRow = false
  ): Promise<void> {
    const rows = await this.#attempt(attack, query)
    if (rows === undefined || rows.length === 0) return
    this.#reached(attack)
    const text = JSON.stringify(
      rows,
      (_, value: unknown) => typeof value === 'bigint' ? String(value) : value
    )
    const [shown] = this.#attack.secrets.find(text)
    if (shown !== undefined) this.#leak(attack, `${shown.value} (${shown.of})`)
    else if (isAnyRow) this.#leak(attack, `${rows.length} rows of the victim`)
  }

  async #counts (attack: string, query: () => Promise<readonly Row[]>): Promise<void> {
    const rows = await this.#attempt(attack, query)
    if (rows !== undefined) this.#reached(attack)
    if (Number(rows?.[0]?.['n'] ?? 0) > 0) this.#leak(attack, "the victim's row is counted")
  }

  async #changes (attack: string, query: () => Promise<bigint | undefined>): Promise<void> {
    const count = await this.#attempt(attack, query)
    if (count !== undefined) this.#reached(attack)
    if (count !== undefined && count > 0n) this.#leak(attack, `${count} rows of the victim were changed`)
  }

  // A statement that is refused or fails has leaked nothing, so its error is ignored.
  async #attempt<T> (_attack: string, work: () => Promise<T>): Promise<T | undefined> {
    const line = this.#attack.findings.of(this.#name)
    line.requests++
    try {
      const result = await work()
      line.reached++
      return result
    } catch {
      return undefined
    }
  }

  async #undone<T> (db: Database, work: (trx: Database) => Promise<T>): Promise<T | undefined> {
    let result: T | undefined
    await db.transaction().execute(async trx => {
      result = await work(trx)
      throw new Rollback()
    }).catch((error: unknown) => {
      if (!(error instanceof Rollback)) throw error
    })
    return result
  }

  #where (row: Row): Record<string, string | number> {
    return Object.fromEntries(primaryKeyOf(this.#table, row).map(name => [name, row[name] as string]))
  }

  /** Returns a column that can be changed without violating a constraint. */
  #plainColumn (row: Row): string | undefined {
    const { columns, references, tenantColumn } = this.#table
    const keys = primaryKeyOf(this.#table, row)
    const isPlain = (name: string): boolean =>
      name !== tenantColumn && !keys.includes(name) && !references.some(each =>
        each.columns.includes(name)
      ) &&
      !columns.some(each => each.name === name && (each.isGenerated || each.isKey))
    const names = Object.keys(row).filter(isPlain)
    return names.find(name => typeof row[name] === 'string') ?? names[0]
  }

  #insertable (row: Row): Row {
    const generated = new Set(this.#table.columns.filter(each => each.isGenerated).map(each => each.name))
    return Object.fromEntries(
      Object.entries(row).filter(([name]) => name !== this.#table.tenantColumn && !generated.has(name))
        .map(([name, value]) => [name, isJson(value) ? JSON.stringify(value) : value])
    )
  }

  /** Returns a row that no tenant has yet, with references to the attacker's own rows. */
  #fresh (row: Row): Row {
    if (this.#table.columns.length > 0) return this.#attack.own.newRow(this.#table, new Map(), 0, true)
    const keys = primaryKeyOf(this.#table, row)
    return Object.fromEntries(
      Object.entries(this.#insertable(row)).map((
        [name, value]
      ) => [name, keys.includes(name) ? mutated(value) ?? value : value])
    )
  }

  #reached (attack: string): void {
    const { kinds } = this.#attack
    kinds?.set(attack, kinds.get(attack) ?? false)
  }

  #leak (attack: string, what: string): void {
    this.#attack.kinds?.set(attack, true)
    this.#attack.findings.leak({ where: this.#name, request: attack, what })
  }
}

function isJson (value: unknown): boolean {
  return typeof value === 'object' && value !== null && !(value instanceof Date) && !Buffer.isBuffer(value)
}

/** Returns a value of the same kind that no row has. */
export function mutated (value: unknown): unknown {
  if (typeof value === 'number')
    return randomInt(2_000_000_000, 2_147_000_000) % (Math.abs(value) < 32_767 ? 32_000 : Infinity)
  if (typeof value !== 'string') return undefined
  if (/^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(value)) return randomUUID()
  if (/^\d+$/.test(value))
    return String(randomInt(2_000_000_000, 2_147_000_000)).slice(0, Math.max(value.length, 1))
  const noise = randomUUID().replaceAll('-', '')
  return value.replaceAll(/[a-z0-9]/gi, (_, at: number) => noise[at % noise.length] ?? 'x')
}
