import { randomBytes } from 'node:crypto'

/** A prepared name costs the backend memory, so a connection keeps at most this many. */
const maxNames = 200

interface Prepared {
  readonly name: string
  readonly text: string
}

/**
 * The statements that are prepared on one connection. Their names on the server begin with random bytes of this
 * connection and are never used twice, so a function of the application cannot prepare another text under one.
 */
export class Names {
  // Insertion order is order of use: the first is the one to close.
  #known = new Map<string, Prepared>()
  #closing: string[] = []
  #prefix = randomPrefix()
  #count = 0

  /** The server's name of a statement that is prepared; `key` stands for its text. A use makes it the newest. */
  find (key: string, text: string): string | undefined {
    const prepared = this.#known.get(key)
    if (prepared?.text !== text) return undefined
    if (this.#known.size > maxNames / 2) {
      this.#known.delete(key)
      this.#known.set(key, prepared)
    }
    return prepared.name
  }

  /** Makes a name that the server does not know yet. */
  make (): string {
    return `${this.#prefix}${++this.#count}`
  }

  /** Remembers that the server parsed `text` under `name`, and drops the oldest name above the limit. */
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

  /** Forgets every name; the next batch closes them on the server. */
  dropPrepared (): void {
    for (const { name } of this.#known.values()) this.#closing.push(name)
    this.#known.clear()
  }

  /** The server dropped every prepared statement. New names get a new prefix: the old one may have been read. */
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
