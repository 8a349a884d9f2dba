import type { PGlite } from '@electric-sql/pglite'
import { Duplex } from 'node:stream'
import { callbackify } from 'node:util'

/**
 * Connects a `pg` client to PGlite by the same wire protocol, without a socket. So one driver
 * serves both, and code that was tested on PGlite also runs on PostgreSQL.
 *
 * PGlite is one backend and all its streams share a session, so at most one stream may be open at a
 * time (a pool of one). This class answers the start-up exchange itself. When the stream ends, it
 * rolls back the transaction and resets the session, as if the backend had gone.
 */
export class PGliteStream extends Duplex {
  readonly #database: Promise<PGlite>
  #pending = Buffer.alloc(0)
  #isStarted = false

  constructor (database: Promise<PGlite>) {
    super()
    this.#database = database
  }

  connect (): this {
    setImmediate(() => this.emit('connect'))
    return this
  }

  setNoDelay (): this {
    return this
  }
  setKeepAlive (): this {
    return this
  }
  ref (): this {
    return this
  }
  unref (): this {
    return this
  }

  override _read (): void {}

  override _write (chunk: Buffer, _encoding: string, done: (error?: Error | null) => void): void {
    this.#pending = Buffer.concat([this.#pending, chunk])
    callbackify(() => this.#answer())(done)
  }

  override _writev (chunks: { chunk: Buffer }[], done: (error?: Error | null) => void): void {
    this.#pending = Buffer.concat([this.#pending, ...chunks.map(({ chunk }) => chunk)])
    callbackify(() => this.#answer())(done)
  }

  override _final (done: (error?: Error | null) => void): void {
    callbackify(() => this.#reset().then(() => this.push(null)))(error => done(error))
  }

  override _destroy (error: Error | null, done: (error?: Error | null) => void): void {
    callbackify(() => this.#reset())(() => done(error))
  }

  async #answer (): Promise<void> {
    if (!this.#isStarted) {
      if (this.#pending.length < 4 || this.#pending.length < this.#pending.readInt32BE(0)) return
      this.#pending = this.#pending.subarray(this.#pending.readInt32BE(0))
      this.#isStarted = true
      this.push(startUpAnswer)
    }
    const length = completeMessages(this.#pending)
    if (length === 0) return
    const messages = this.#pending.subarray(0, length)
    this.#pending = this.#pending.subarray(length)
    if (messages[0] === terminate) return
    const database = await this.#database
    await database.waitReady
    this.push(await database.execProtocolRaw(messages))
  }

  async #reset (): Promise<void> {
    if (!this.#isStarted) return
    this.#isStarted = false
    const database = await this.#database
    if (database.closed) return
    await database.exec('rollback')
    await database.exec('discard all')
  }
}

const terminate = 'X'.charCodeAt(0)

/** Returns the length of the complete messages at the start of `data`. */
function completeMessages (data: Buffer): number {
  let end = 0
  while (end + 5 <= data.length) {
    const next = end + 1 + data.readInt32BE(end + 1)
    if (next > data.length) break
    end = next
  }
  return end
}

// AuthenticationOk, ReadyForQuery(idle)
const startUpAnswer = Buffer.from([0x52, 0, 0, 0, 8, 0, 0, 0, 0, 0x5a, 0, 0, 0, 5, 0x49])
