import { InternalError } from '@fastify-tenancy/core/errors'
import { sqlState } from '@fastify-tenancy/postgres/client'
import pg from 'pg'

/** The state of a server. `'degraded'`: it replies, but accepts no more connections. */
export type ServerStatus = 'ok' | 'degraded' | 'down'

/** Milliseconds within which a server must reply. */
const within = 2_000

/**
 * Watches whether the server of a pool replies. A connection that the application returns unbroken
 * counts as a reply. A query of its own is sent only if there was none since the last beat.
 */
export class PoolPulse {
  readonly #pool: pg.Pool
  #replies = 0
  #repliesBefore = 0
  #isQuerying = false
  #status: ServerStatus = 'ok'

  constructor (pool: pg.Pool) {
    this.#pool = pool
    // Only a counter, because this runs for every statement.
    pool.on('release', this.#onRelease)
  }

  get status (): ServerStatus {
    return this.#hasReplied ? 'ok' : this.#status
  }

  /** Whether the server replied since the last beat. */
  get #hasReplied (): boolean {
    return this.#replies !== this.#repliesBefore
  }

  /**
   * Updates the status from the replies since the last beat, and queries the server if there were
   * none.
   */
  beat (): void {
    if (this.#hasReplied) {
      this.#repliesBefore = this.#replies
      this.#status = 'ok'
    } else if (!this.#isQuerying) {
      void this.#update()
    }
  }

  stop (): void {
    this.#pool.off('release', this.#onRelease)
  }

  readonly #onRelease = (error: unknown): void => {
    if (!error) this.#replies++
  }

  async #update (): Promise<void> {
    this.#isQuerying = true
    try {
      await this.#ask()
      this.#status = 'ok'
    } catch (error) {
      this.#status = statusOf(error)
    }
    this.#isQuerying = false
  }

  /**
   * Queries the server on an idle connection, or else on a new one outside the pool. A pool whose
   * connections are all busy says nothing about the server.
   */
  async #ask (): Promise<void> {
    if (this.#pool.idleCount > 0) return this.#askOn(await this.#pool.connect())
    const client = new pg.Client({
      ...this.#pool.options,
      connectionTimeoutMillis: within,
      query_timeout: within
    })
    client.on('error', () => {})
    try {
      await client.connect()
      await client.query('select 1')
    } finally {
      client.end().catch(() => {})
    }
  }

  async #askOn (client: pg.PoolClient): Promise<void> {
    const { promise: late, reject } = Promise.withResolvers<never>()
    const timer = setTimeout(() => {
      reject(new InternalError(`the server did not reply within ${within} ms`))
    }, within)
    try {
      await Promise.race([client.query('select 1'), late])
      client.release()
    } catch (error) {
      client.release(true)
      throw error
    } finally {
      clearTimeout(timer)
    }
  }
}

// Class 53: too many connections, out of memory, or disk full.
function statusOf (error: unknown): ServerStatus {
  return sqlState(error)?.startsWith('53') ? 'degraded' : 'down'
}
