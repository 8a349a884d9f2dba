import { LRUCache } from 'lru-cache'
import type { CompiledQuery, RootOperationNode } from 'kysely'

import type { Facts } from './facts.ts'
import { JudgedQuery, type HarmlessVerdict } from './judged-query.ts'
import type { FactsKeeper } from './keeper.ts'
import { harmlessFunctions } from './names.ts'
import { read } from './read-statement.ts'
import type { Columns, Reading } from './reading.ts'

/**
 * Limits of the cache: number of texts, their total length, and the longest text. Longer texts are
 * mostly lists, of which each length is another text.
 */
const max = 5_000
const maxSize = 5_000_000
const longestKept = 10_000

/** The sources of a judge's facts. */
interface JudgeParts {
  /** The facts of `schema`. */
  readonly own: FactsKeeper
  readonly schema: string
  /** The facts of the schema with reference tables. @default `own` */
  readonly shared?: FactsKeeper
  /** @default `schema` */
  readonly sharedSchema?: string
  /** The schemas that follow `schema` in the search path. */
  readonly others: () => readonly string[]
}

/** Judges the statements of handles whose tables are in one schema. */
export class Judge {
  readonly #own: FactsKeeper
  readonly #shared: FactsKeeper
  readonly #columns: Columns
  readonly #others: () => readonly string[]
  readonly #verdicts = new LRUCache<string, HarmlessVerdict>({
    max,
    maxSize,
    sizeCalculation: (_, text) => text.length + 1
  })

  constructor ({ own, schema, shared = own, sharedSchema = schema, others }: JudgeParts) {
    this.#own = own
    this.#shared = shared
    this.#others = others
    const factsOf = (name: string): Facts | undefined =>
      name === schema ? own.last : name === sharedSchema ? shared.last : undefined
    this.#columns = {
      schema,
      of: (name, table) => factsOf(name)?.columns(name, table),
      results: name => own.last?.results(name) ?? []
    }
  }

  /**
   * Whether a compiled query changes and reads nothing of its session. False for a query that no
   * compiler of the suite made.
   */
  isHarmless (query: CompiledQuery): boolean {
    const isFresh = this.#isFresh
    if (!isFresh || !JudgedQuery.isOwn(query)) return false
    return query.verdict(this).isHarmless
  }

  /** Whether a verdict still equals what {@link verdict} would return. */
  isCurrent (verdict: HarmlessVerdict): boolean {
    return verdict.version === this.#version
  }

  /** Returns the verdict on a text that a compiler made from `node`. */
  verdict (sql: string, node: RootOperationNode): HarmlessVerdict {
    const known = this.#verdicts.get(sql)
    if (known?.version === this.#version) return known
    const verdict = this.#judge(node)
    if (sql.length <= longestKept) this.#verdicts.set(sql, verdict)
    return verdict
  }

  /** Requests a catalog read, because a statement uses a name that the facts do not contain. */
  hurry (): void {
    this.#own.hurry()
  }

  get #path (): readonly string[] {
    return ['pg_catalog', this.#columns.schema, ...this.#others()]
  }

  get #isFresh (): boolean {
    // Read both, because `isFresh` also requests a refresh of aging facts.
    const isOwnFresh = this.#own.isFresh
    return this.#shared.isFresh && isOwnFresh
  }

  // Both counters only grow, so no two pairs have the same sum.
  get #version (): number {
    return this.#own === this.#shared ? this.#own.version : this.#own.version + this.#shared.version
  }

  #judge (node: RootOperationNode): HarmlessVerdict {
    const version = this.#version
    const facts = this.#own.last
    try {
      const reading = read(node, this.#columns)
      const unknown = reading.unknown.find(({ isCertain }) => isCertain) ?? reading.unknown[0]
      const call = facts && [...reading.possible].find(name => this.#isUserCall(name, facts))
      return {
        isReadable: true,
        isHarmless: facts !== undefined && unknown === undefined && call === undefined &&
          this.#allows(reading, facts),
        unknown: unknown ?? (call === undefined ? undefined : { item: call, column: call, isCertain: true }),
        isCall: call !== undefined ||
          (unknown !== undefined && facts?.isCall(unknown.column, this.#path) === true),
        version
      }
    } catch {
      // Thrown for unknown nodes, mostly raw SQL.
      return { isReadable: false, isHarmless: false, unknown: undefined, isCall: false, version }
    }
  }

  #isUserCall (name: string, facts: Facts): boolean {
    return facts.isCall(name, this.#path.slice(1))
  }

  #allows ({ uses, functions, operators }: Reading, facts: Facts): boolean {
    const shared = this.#shared.last
    const path = this.#path
    return !facts.isTainted && uses.every(({ schema, table, use, isQualified }) => {
      const of = schema === this.#columns.schema ? facts : shared
      return of?.isHarmlessUse(schema, table, use) === true && (isQualified || !facts.isHidden(schema, table))
    }) && [...functions].every(name => harmlessFunctions.has(name) && facts.isHarmlessFunction(name, path)) &&
      [...operators].every(name => facts.isHarmlessOperator(name, path))
  }
}
