import type { SqlClient } from '@fastify-tenancy/postgres/client'

import type { StatementRunner } from './dialect.ts'
import { transactionWords } from './transaction-words.ts'

// What changes the schema has no parameters and answers nothing that Kysely would hand on.
const schemaChange = /^\s*(?:create|alter|drop|comment|grant|revoke)\b/i

interface Answer {
  readonly rows: unknown[]
  readonly rowCount: number | null
  readonly command?: string
}

/**
 * One transaction in as few messages as it can be: what answers nothing is kept back, and goes with the next thing that does,
 * or with the commit. A migration of schema changes alone is one message and one wait.
 *
 * It is of one transaction: what comes after its end is refused, so that a statement that nobody awaited cannot run in the
 * transaction of another tenant.
 */
export class DdlBuffer implements StatementRunner {
  readonly #client: SqlClient
  readonly #head: readonly string[]
  #held: string[] = []
  #running = 0
  #wasSent = false
  #isEnded = false

  /** @param openingStatements what begins the transaction */
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

  /** Keeps a statement back whose answer nobody needs. */
  add (text: string): void {
    this.#assertOpen()
    this.#held.push(text)
  }

  /** Sends what was kept back. The simple protocol takes several statements and runs none after an error. */
  async flush (): Promise<void> {
    if (this.#held.length === 0) return
    // On lines of their own: a statement may end with a comment.
    const text = this.#held.join('\n;\n')
    this.#held = []
    this.#wasSent = true
    await this.#client.query(text)
  }

  /** Runs one statement, after what was kept back. */
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

  /** @throws while something runs: who began it did not await it, and would find it in another's transaction */
  assertIdle (): void {
    if (this.#running > 0)
      throw new Error('a migration returned before one of its statements had: await every statement')
  }

  /** The ledger's entry went before it, which fails where the transaction had: this never answers ROLLBACK. */
  async commit (): Promise<void> {
    this.add('commit')
    // A role that a migration set without `local` would stay the session's.
    this.add('reset role')
    const sent = this.flush()
    // From now on, and not from the answer on: what came meanwhile would be kept back for ever.
    this.#isEnded = true
    await sent
  }

  /** Nothing, where nothing was sent. */
  async rollback (): Promise<void> {
    this.#held = []
    this.#isEnded = true
    // On a connection that was lost there is nothing to take back: the error before is the one that matters.
    if (this.#wasSent) await this.#client.query('rollback').catch(() => {})
  }

  #assertOpen (): void {
    if (this.#isEnded)
      throw new Error(
        'a migration ran a statement after its up() or down() had returned: await every statement'
      )
  }
}

// Once it is sent, what came before it stays, and what comes after it is the login's own, one by one.
function assertWithin (text: string): void {
  const words = transactionWords(text)
  if (words !== undefined)
    throw new Error(
      `a migration runs in a transaction, which is begun and ended for it: take '${words}' out of it`
    )
}
