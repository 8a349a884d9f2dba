import type { SqlClient } from '../client/sql-client.ts'
import type { SigningKey } from '../context-token.ts'
import { noteInterval } from './sync-keys.ts'

/**
 * Records every ten minutes which key this process signs with, so that `tenancy init
 * --drop-old-secrets` does not remove the key while it is in use.
 *
 * ```sql
 * select tenancy.note_signing('5d1f0c2b9a7e4f63')
 * ```
 */
export class SigningUses {
  readonly #lookUps: SqlClient
  readonly #key: string
  readonly #timer: NodeJS.Timeout

  constructor (lookUps: SqlClient, { id }: SigningKey) {
    this.#lookUps = lookUps
    this.#key = id
    this.#timer = setInterval(() => {
      void this.note()
    }, noteInterval).unref()
  }

  /** Best-effort, because the next note replaces a lost one. */
  async note (on: SqlClient = this.#lookUps): Promise<void> {
    await on.query('select tenancy.note_signing($1)', [this.#key]).catch(() => {})
  }

  end (): void {
    clearInterval(this.#timer)
  }
}
