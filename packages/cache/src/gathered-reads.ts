import type { CacheRead } from './store.ts'

/** Reads all these keys of one tenant at once; what takes a second wait is promised. */
export type ReadMany = (tenant: string, keys: readonly string[]) => Promise<(CacheRead | Promise<CacheRead>)[]>

/** More keys than this go in two commands, so that nobody waits for the values of a hundred others. */
const mostKeys = 64

interface Reader {
  readonly resolve: (read: CacheRead | Promise<CacheRead>) => void
  readonly reject: (error: unknown) => void
}

/** What one turn asks of one tenant: who waits for each key. */
type Asked = Map<string, Reader[]>

/**
 * Makes one command of what one turn of the event loop reads of a tenant, key by key: one MGET asks for the epoch once, and a thousand
 * who miss the same key together are one question. It is sent when the turn's own work is done, so that nobody waits for it;
 * and nobody gets an answer that was asked for before something he knows of, since no answer arrives in between.
 */
export class GatheredReads {
  readonly #readMany: ReadMany
  readonly #asked = new Map<string, Asked>()

  constructor (readMany: ReadMany) {
    this.#readMany = readMany
  }

  read (tenant: string, key: string): Promise<CacheRead> {
    return new Promise((resolve, reject) => {
      const asked = this.#askedOf(tenant)
      const readers = asked.get(key)
      if (readers === undefined) asked.set(key, [{ resolve, reject }])
      else readers.push({ resolve, reject })
    })
  }

  #askedOf (tenant: string): Asked {
    const found = this.#asked.get(tenant)
    if (found !== undefined && found.size < mostKeys) return found
    if (found !== undefined) void this.#send(tenant, found)
    else if (this.#asked.size === 0) process.nextTick(this.#sendAll)
    const asked: Asked = new Map()
    this.#asked.set(tenant, asked)
    return asked
  }

  readonly #sendAll = (): void => {
    for (const [tenant, asked] of this.#asked) void this.#send(tenant, asked)
    this.#asked.clear()
  }

  async #send (tenant: string, asked: Asked): Promise<void> {
    try {
      const reads = await this.#readMany(tenant, [...asked.keys()])
      let at = 0
      for (const readers of asked.values()) {
        const read = reads[at++] as CacheRead | Promise<CacheRead>
        for (const reader of readers) reader.resolve(read)
      }
    } catch (error) {
      for (const readers of asked.values()) for (const reader of readers) reader.reject(error)
    }
  }
}
