import { InternalError } from '@fastify-tenancy/core'
import { sqlState } from '@fastify-tenancy/postgres/client'
import pg from 'pg'

/** Whether a server answers. `'degraded'`: it does, and takes no more connections. */
export type ServerStatus = 'ok' | 'degraded' | 'down'

/** The longest that a server may take to answer, in milliseconds. */
const within = 2_000

/**
 * Whether the server of a pool answers. What the application itself hears counts first: a
 * connection that comes back unbroken has had an answer. Only where nothing was heard since the
 * last beat does a question of its own go out.
 */
export class PoolPulse {
  readonly #pool: pg.Pool
  #heard = 0
  #heardBefore = 0
  #isAsking = false
  #status: ServerStatus = 'ok'

  constructor (pool: pg.Pool) {
    this.#pool = pool
    // A number alone: this runs for every statement.
    pool.on('release', this.#onRelease)
  }

  get status (): ServerStatus {
    return this.#status
  }

  /** Looks at what was heard since the last beat, and asks the server where that is nothing. */
  beat (): void {
    if (this.#heard !== this.#heardBefore) {
      this.#heardBefore = this.#heard
      this.#status = 'ok'
    } else if (!this.#isAsking) {
      void this.#update()
    }
  }

  stop (): void {
    this.#pool.off('release', this.#onRelease)
  }

  readonly #onRelease = (error: unknown): void => {
    if (!error) this.#heard++
  }

  async #update (): Promise<void> {
    this.#isAsking = true
    try {
      await this.#ask()
      this.#status = 'ok'
    } catch (error) {
      this.#status = statusOf(error)
    }
    this.#isAsking = false
  }

  /**
   * On a connection that is idle, or else on one of its own: a pool whose connections are all at
   * work says nothing of the server.
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
      reject(new InternalError(`the server gave no answer within ${within} ms`))
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

// Class 53: too many connections, out of memory or disk.
function statusOf (error: unknown): ServerStatus {
  return sqlState(error)?.startsWith('53') ? 'degraded' : 'down'
}
