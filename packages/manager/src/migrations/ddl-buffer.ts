import type { SqlClient } from '@fastify-tenancy/postgres/client'

import type { StatementRunner } from './dialect.ts'
import { transactionWords } from './transaction-words.ts'

// Statements that change the schema have no parameters, and Kysely uses nothing of their result.
const schemaChange = /^\s*(?:create|alter|drop|comment|grant|revoke)\b/i

interface Answer {
  readonly rows: unknown[]
  readonly rowCount: number | null
  readonly command?: string
}

/**
 * Buffers statements whose result is not needed, and sends them with the next one that needs it or
 * with the commit. A migration of schema changes alone is one message.
 *
 * Rejects statements after the transaction's end. Otherwise one that was not awaited would run in
 * another tenant's transaction.
 */
export class DdlBuffer implements StatementRunner {
  readonly #client: SqlClient
  readonly #head: readonly string[]
  #held: string[] = []
  #running = 0
  #wasSent = false
  #isEnded = false

  /** @param openingStatements statements that begin the transaction */
  constructor (client: SqlClient, openingStatements: readonly string[]) {
    this.#client = client
    this.#head = openingStatements
  }

  async begin (): Promise<void> {
    for (const text of this.#head) this.add(text)
  }

  hold (text: string): boolean {
    const isHeld = schemaChange.test(text)
    if (isHeld) {
      assertWithin(text)
      this.add(text)
    }
    return isHeld
  }

  /** Buffers a statement whose result is not needed. */
  add (text: string): void {
    this.#assertOpen()
    this.#held.push(text)
  }

  /**
   * Sends the buffered statements. The simple protocol accepts several and stops at the first
   * error.
   */
  async flush (): Promise<void> {
    if (this.#held.length === 0) return
    // `;` stands on its own line, because a statement may end with a comment.
    const text = this.#held.join('\n;\n')
    this.#held = []
    this.#wasSent = true
    await this.#client.query(text)
  }

  /** Sends the buffered statements, then runs this one. */
  async run (text: string, values: readonly unknown[]): Promise<Answer> {
    this.#assertOpen()
    assertWithin(text)
    this.#running++
    try {
      await this.flush()
      this.#assertOpen()
      return await this.#client.query(text, values.length === 0 ? undefined : [...values])
    } finally {
      this.#running--
    }
  }

  /**
   * @throws while a statement runs: the migration did not await it, so it would run in another
   *   transaction
   */
  assertIdle (): void {
    if (this.#running > 0)
      throw new Error('a migration returned before one of its statements had: await every statement')
  }

  /**
   * Commits. The ledger insert is sent before `commit` and fails if the transaction is already
   * aborted. So `commit` never silently turns into ROLLBACK.
   */
  async commit (): Promise<void> {
    this.add('commit')
    // Otherwise a role that a migration set without `local` would stay for the session.
    this.add('reset role')
    const sent = this.flush()
    // Set before the reply arrives. A statement that is buffered meanwhile would never be sent.
    this.#isEnded = true
    await sent
  }

  /** Rolls back. Does nothing if nothing was sent. */
  async rollback (): Promise<void> {
    this.#held = []
    this.#isEnded = true
    // A lost connection has no transaction to roll back. The error that led here is the cause.
    if (this.#wasSent) await this.#client.query('rollback').catch(() => {})
  }

  #assertOpen (): void {
    if (this.#isEnded)
      throw new Error(
        'a migration ran a statement after its up() or down() had returned: await every statement'
      )
  }
}

// Rejects transaction control. After a `commit` in the text, earlier statements stay committed, and
// later ones run one by one as the login.
function assertWithin (text: string): void {
  const words = transactionWords(text)
  if (words !== undefined)
    throw new Error(
      `a migration runs in a transaction that the manager begins and ends: remove '${words}' from it`
    )
}
