import { randomBytes } from 'node:crypto'

/** Most prepared names that a connection keeps, because each costs memory in the backend. */
const maxNames = 200

interface Prepared {
  readonly name: string
  readonly text: string
}

/**
 * The statements that are prepared on one connection. Names on the server begin with random bytes
 * and are never reused, so a function of the application cannot prepare another text under a name.
 */
export class Names {
  // Insertion order is order of use, so the first entry is closed first.
  #known = new Map<string, Prepared>()
  #closing: string[] = []
  #prefix = randomPrefix()
  #count = 0

  /**
   * Returns the server's name of a prepared statement and marks it as most recently used. `key` is
   * a hash of `text`.
   */
  find (key: string, text: string): string | undefined {
    const prepared = this.#known.get(key)
    if (prepared?.text !== text) return undefined
    if (this.#known.size > maxNames / 2) {
      this.#known.delete(key)
      this.#known.set(key, prepared)
    }
    return prepared.name
  }

  /** Returns a new name, which was never used on the server. */
  make (): string {
    return `${this.#prefix}${++this.#count}`
  }

  /**
   * Records that the server parsed `text` under `name`, and drops the oldest name above the limit.
   */
  markPrepared (key: string, { name, text }: Prepared): void {
    const old = this.#known.get(key)
    if (old !== undefined) this.#closing.push(old.name)
    this.#known.set(key, { name, text })
    if (this.#known.size <= maxNames) return
    const [oldest] = this.#known
    if (oldest === undefined) return
    this.#known.delete(oldest[0])
    this.#closing.push(oldest[1].name)
  }

  /** Drops every name. The next batch closes them on the server. */
  dropPrepared (): void {
    for (const { name } of this.#known.values()) this.#closing.push(name)
    this.#known.clear()
  }

  /**
   * Records that the server dropped every prepared statement. New names get a new prefix, because a
   * function may have read the old one.
   */
  dropped (): void {
    this.#known.clear()
    this.#closing = []
    this.#prefix = randomPrefix()
  }

  /** Returns the names to close, each once. */
  takeStatementsToClose (): readonly string[] {
    return this.#closing.length === 0 ? none : this.#closing.splice(0)
  }
}

const none: readonly string[] = []

function randomPrefix (): string {
  return `t_${randomBytes(12).toString('base64url')}_`
}
