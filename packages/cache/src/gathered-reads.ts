import type { CacheRead } from './store.ts'

/** Keys of one tenant. */
export interface TenantKeys {
  readonly tenant: string
  readonly keys: readonly string[]
}

/** Reads all these keys at once, and gives what they hold in their order; what takes a second wait is promised. */
export type ReadMany = (wanted: readonly TenantKeys[]) => Promise<(CacheRead | Promise<CacheRead>)[]>

/** More keys than this go in two commands, so that nobody waits for the values of a hundred others. */
const mostKeys = 64
/** The same of several tenants' keys: all wait for the largest values among them. */
const mostShared = 16

interface Reader {
  readonly resolve: (read: CacheRead | Promise<CacheRead>) => void
  readonly reject: (error: unknown) => void
}

/** What one turn asks of one tenant: who waits for each key. */
interface PendingRead {
  readonly tenant: string
  readonly readers: Map<string, Reader[]>
}

/**
 * Makes one command of what one turn of the event loop reads, key by key: one MGET asks for a tenant's epoch once, and a thousand
 * who miss the same key together are one question. It is sent when the turn's own work is done, so that nobody waits for it;
 * and nobody gets an answer that was asked for before something he knows of, since no answer arrives in between.
 */
export class GatheredReads {
  readonly #readMany: ReadMany
  #isTogether: boolean
  readonly #asked = new Map<string, PendingRead>()

  /** @param isTogether whether several tenants may share a command. */
  constructor (readMany: ReadMany, isTogether: boolean) {
    this.#readMany = readMany
    this.#isTogether = isTogether
  }

  read (tenant: string, key: string): Promise<CacheRead> {
    return new Promise((resolve, reject) => {
      const { readers } = this.#askedOf(tenant)
      const others = readers.get(key)
      if (others === undefined) readers.set(key, [{ resolve, reject }])
      else others.push({ resolve, reject })
    })
  }

  #askedOf (tenant: string): PendingRead {
    const found = this.#asked.get(tenant)
    if (found !== undefined && found.readers.size < mostKeys) return found
    if (found !== undefined) void this.#send([found])
    else if (this.#asked.size === 0) process.nextTick(this.#sendAll)
    const asked: PendingRead = { tenant, readers: new Map() }
    this.#asked.set(tenant, asked)
    return asked
  }

  readonly #sendAll = (): void => {
    let together: PendingRead[] = []
    let size = 0
    for (const asked of this.#asked.values()) {
      if (together.length > 0 && (!this.#isTogether || size + asked.readers.size > mostShared)) {
        void this.#send(together)
        together = []
        size = 0
      }
      together.push(asked)
      size += asked.readers.size
    }
    void this.#send(together)
    this.#asked.clear()
  }

  async #send (together: readonly PendingRead[]): Promise<void> {
    try {
      const reads = await this.#readMany(
        together.map(({ tenant, readers }) => ({ tenant, keys: [...readers.keys()] }))
      )
      let at = 0
      for (const { readers: byKey } of together) {
        for (const readers of byKey.values()) {
          const read = reads[at++] as CacheRead | Promise<CacheRead>
          for (const reader of readers) reader.resolve(read)
        }
      }
    } catch (error) {
      if (together.length > 1 && isCrossSlot(error)) {
        this.#isTogether = false
        for (const asked of together) void this.#send([asked])
        return
      }
      for (const { readers: byKey } of together)
        for (const readers of byKey.values())
          for (const reader of readers) reader.reject(error)
    }
  }
}

/** Keys of several tenants in one command: also a plain client may have a Cluster behind it, which says so at the first one. */
export function isCrossSlot (error: unknown): boolean {
  return error instanceof Error && error.message.startsWith('CROSSSLOT')
}
