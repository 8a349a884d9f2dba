// Runs a statement twice, rolled back each time: rewritten as a superuser, whom no policy binds,
// and as it is under forced policies.
import { DummyDriver, Kysely, PostgresAdapter, PostgresIntrospector, PostgresQueryCompiler,
  type CompiledQuery, type QueryCompiler } from 'kysely'
import { isDeepStrictEqual } from 'node:util'
import pg from 'pg'

import { RowCompiler } from '../../../packages/database/src/compilers/row-compiler.ts'
import { QueryRefusedError } from '../../../packages/database/src/options/errors.ts'
import { defaultFunctions } from '../../../packages/database/src/rewrite/functions.ts'
import { grammar } from '../../../packages/database/src/rewrite/rewrite.ts'
import { postgresRules, type Rules } from '../../../packages/database/src/rewrite/rules.ts'
import { rootScope } from '../../../packages/database/src/rewrite/scope.ts'
import { tenantValue } from '../../../packages/database/src/rewrite/tenant-value.ts'
import { Random, type Choices } from './random.ts'
import { rowTables, schemaSql, tenantColumns, tenants } from './schema.ts'
import { plan } from './statements.ts'
import { unscoped } from './syntax-oracle.ts'

const timedOut = '57014'
// "MERGE command cannot affect row a second time", or INSERT … ON CONFLICT.
const twice = '21000'

/** How one statement went. */
export interface Verdict {
  /** What is wrong; undefined where both answers are equal. */
  readonly problem: string | undefined
  /** Whether the statement failed under policies too, so that the two had nothing to differ in. */
  readonly hasFailed: boolean
  readonly sql: string
}

/** The four mistakes that a rewriter is most likely to make. */
export const seededBugs: Readonly<Record<string, Rules>> = {
  'all predicates in WHERE': {
    ...postgresRules,
    place: joins => ['where', ...joins.map(() => 'where' as const)]
  },
  'all predicates in ON': {
    ...postgresRules,
    place: joins => [joins.length === 0 ? 'where' : 0, ...joins.map((_, index) => index)]
  },
  'names of WITH visible in all bodies': { ...postgresRules, namesInBody: names => names },
  'targets resolved to names of WITH': { ...postgresRules, targetSeesNames: true }
}

interface Answer {
  readonly error: string | undefined
  readonly rows: readonly string[]
  readonly count: number | null
  /** All rows of all tables afterwards. */
  readonly state: string
  /** Those of the other tenants. */
  readonly foreign: string
}

/** Runs one statement after the other, and says where the two differ. */
export class Judge {
  readonly used: Set<string> = new Set()
  readonly #client: pg.Client
  readonly #role: string
  #version = 15
  readonly #foreign: Map<string, string> = new Map()

  constructor (client: pg.Client, role: string) {
    this.#client = client
    this.#role = role
  }

  /** @param client a superuser's, on an empty database. */
  static async on (client: pg.Client, role: string): Promise<Judge> {
    const judge = new Judge(client, role)
    await client.query(schemaSql(role))
    await client.query('set jit = off')
    const { rows: [row] } = await client.query<{ version: number }>(
      "select current_setting('server_version_num')::int / 10000 as version"
    )
    judge.#version = row?.version ?? 15
    for (const tenant of tenants) judge.#foreign.set(tenant, (await judge.#state(tenant)).foreign)
    return judge
  }

  async verdict (choices: Choices, rules: Rules = postgresRules): Promise<Verdict> {
    const tenant = new Random(choices).pick(tenants)
    const { build } = plan(choices, tenant, this.#version, this.used)
    const original = build(database(new PostgresQueryCompiler())).compile()
    let rewritten: CompiledQuery
    try {
      rewritten = build(
        database(
          new RowCompiler(
            rootScope({
              tenant: tenantValue(tenant),
              tables: rowTables,
              functions: new Set(defaultFunctions),
              grammar,
              rules
            })
          )
        )
      ).compile()
    } catch (error) {
      if (!(error instanceof QueryRefusedError)) throw error
      return { problem: `refused: ${error.message}`, hasFailed: true, sql: original.sql }
    }
    const expected = await this.#run(original, tenant, this.#role)
    const actual = await this.#run(rewritten, tenant, undefined)
    const problem = this.#compare(expected, actual, tenant, original.sql) ??
      (rules === postgresRules ? unscoped(rewritten.sql, tenantColumns) : undefined)
    return {
      problem: problem &&
        `${problem}\n  as it is:  ${original.sql}\n  rewritten: ${rewritten.sql}\n  with ${
          JSON.stringify(rewritten.parameters)
        }`,
      hasFailed: expected.error !== undefined,
      sql: rewritten.sql
    }
  }

  #compare (expected: Answer, actual: Answer, tenant: string, sql: string): string | undefined {
    if (actual.foreign !== this.#foreign.get(tenant)) return "another tenant's rows were written"
    // Cross joins of cross joins: neither answer says anything.
    if ([expected.error, actual.error].some(error => error?.startsWith(timedOut))) return undefined
    if (expected.error !== undefined && actual.error !== undefined) return undefined
    if ([expected.error, actual.error].some(error => error?.startsWith(twice)) && changesOneTableTwice(sql))
      return undefined
    if (expected.error !== actual.error)
      return `only one failed: ${expected.error ?? 'no error'} under policies, ${
        actual.error ?? 'no error'
      } rewritten`
    if (!isDeepStrictEqual(expected.rows, actual.rows))
      return `rows differ: ${expected.rows.slice(0, 5).join(' ')} under policies, ${
        actual.rows.slice(0, 5).join(' ')
      } rewritten`
    if (expected.count !== actual.count)
      return `counts differ: ${expected.count} under policies, ${actual.count} rewritten`
    return expected.state === actual.state ? undefined : 'the tables differ afterwards'
  }

  async #run (
    { sql, parameters, query }: CompiledQuery,
    tenant: string,
    role: string | undefined
  ): Promise<Answer> {
    await this.#client.query(
      `begin; ${
        role === undefined
          ? ''
          : `set local role ${role}; select set_config('tenancy.tenant', '${tenant}', true);`
      } set local statement_timeout = '150ms'`
    )
    try {
      const { rows, rowCount } = await this.#client.query<unknown[]>({
        text: sql,
        values: [...parameters],
        rowMode: 'array'
      })
      const isRead = query.kind === 'SelectQueryNode' && !/\b(?:insert into|update|delete from) "/.test(sql)
      if (!isRead) await this.#client.query('set local statement_timeout = 0; reset role')
      const state = isRead
        ? { state: '', foreign: this.#foreign.get(tenant) ?? '' }
        : await this.#state(tenant)
      return {
        error: undefined,
        rows: rows.map(row => JSON.stringify(row)).toSorted(),
        count: rowCount,
        ...state
      }
    } catch (error) {
      if (!(error instanceof pg.DatabaseError)) throw error
      return {
        error: `${error.code} ${error.message}`,
        rows: [],
        count: null,
        state: '',
        foreign: this.#foreign.get(tenant) ?? ''
      }
    } finally {
      await this.#client.query('rollback')
    }
  }

  async #state (tenant: string): Promise<{ state: string; foreign: string }> {
    const tables = Object.entries(tenantColumns).map(([table, column]) =>
      `select '${table} ' || ${table}::text as row, ${column}::text = $1 as own from ${table}`
    )
    const { rows: [row] } = await this.#client.query<{ state: string; foreign: string }>(
      `select md5(string_agg(row, ';' order by row)) as state, md5(string_agg(row, ';' order by row)
        filter (where not own)) as foreign from (${tables.join(' union all ')}) everything`,
      [tenant]
    )
    if (row === undefined) throw new Error('no state')
    return row
  }
}

function database (compiler: QueryCompiler): Kysely<unknown> {
  return new Kysely({
    dialect: {
      createDriver: () => new DummyDriver(),
      createAdapter: () => new PostgresAdapter(),
      createIntrospector: db => new PostgresIntrospector(db),
      createQueryCompiler: () => compiler
    }
  })
}

/**
 * Whether a statement changes one table in a CTE and again outside it. Which of the two meets a row
 * first is PostgreSQL's to choose ("trying to update the same row twice in a single statement is
 * not supported"), so that only one plan may fail.
 */
function changesOneTableTwice (sql: string): boolean {
  const targets = Array.from(
    sql.matchAll(/(?:merge into|update|delete from|insert into) "(\w+)"/g),
    match => match[1]
  )
  return new Set(targets).size < targets.length
}
