import type { WireStatement } from './batch-end.ts'
import type { ConnectionOwner, Context, Query } from './connection-owner.ts'
import type { ConnectionSettings } from './connection-settings.ts'
import type { ConnectionState } from './connection-state.ts'
import type { Coming, Opening, Openings } from './openings.ts'
import { readStatementText, type StatementText } from './statement.ts'

/** A statement with everything that precedes it. */
interface Prepared {
  readonly opening: Opening
  readonly context: Context | undefined
  readonly coming: Coming
}

/** Prepares the statements of one owner on one connection. */
export class Preparation {
  readonly #state: ConnectionState
  readonly #owner: ConnectionOwner
  readonly #settings: ConnectionSettings
  readonly #openings: Openings

  constructor (
    state: ConnectionState,
    owner: ConnectionOwner,
    settings: ConnectionSettings,
    openings: Openings
  ) {
    this.#state = state
    this.#owner = owner
    this.#settings = settings
    this.#openings = openings
  }

  /**
   * Returns a statement behind its opening (a reset, `begin`) and the owner's context.
   *
   * @param isAgain whether the first attempt failed because the catalog changed. The change may
   * also have changed what the statement does.
   */
  of (query: Query, { keyword, name }: StatementText, chunk: number, isAgain: boolean): Prepared {
    const state = this.#state
    const isHarmless = query.isHarmless === true && !isAgain
    state.followCatalog(this.#settings.catalogVersion)
    const coming = { isHarmless, usesSequences: !isHarmless || keyword !== 'SELECT' }
    const opening = this.#openings.open(coming)
    const { statements } = opening
    const isBegun = state.status !== 'I' && !this.#openings.isBeginPending
    const context = this.#owner.context?.(state.client, isBegun, chunk > 0)
    const isAnew = opening.drops !== 'nothing'
    if (context !== undefined) statements.push(this.#named(context, context.name, 0, isAnew))
    // Without parameters PostgreSQL always makes the generic plan, so a name would save little.
    const key = query.values.length > 0 && name !== '' ? this.#keyHere(name) : ''
    statements.push(this.#named(query, key, chunk, isAnew))
    return { opening, context, coming }
  }

  // In another schema an unqualified text means other tables, so it is prepared as another
  // statement.
  #keyHere (name: string): string {
    const { schema } = this.#owner
    return schema === undefined ? name : `${name}${readStatementText(schema).name}`
  }

  #named ({ text, values }: Query, key: string, chunk: number, isAnew: boolean): WireStatement {
    if (key === '' || this.#settings.isPooled) return { text, values, name: '', isParsed: false, chunk }
    const { names } = this.#state
    const known = isAnew ? undefined : names.find(key, text)
    return { text, values, name: known ?? names.make(), key, isParsed: known !== undefined, chunk }
  }
}
