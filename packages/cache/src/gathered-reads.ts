import type { CacheRead } from './store.ts'

/** Keys of one tenant. */
export interface TenantKeys {
  readonly tenant: string
  readonly keys: readonly string[]
}

/**
 * Reads all these keys in one command and returns the results in their order. A result that needs a
 * second command is a promise.
 */
type ReadMany = (wanted: readonly TenantKeys[]) => Promise<(CacheRead | Promise<CacheRead>)[]>

/**
 * Keys per command. More keys are split into two commands, so that no caller waits for the values
 * of many others.
 */
const mostKeys = 64
/** Keys per command if several tenants share it, because all wait for the largest value. */
const mostShared = 16

interface Reader {
  readonly resolve: (read: CacheRead | Promise<CacheRead>) => void
  readonly reject: (error: unknown) => void
}

/** The reads of one tenant in one tick: the waiting callers by key. */
interface PendingRead {
  readonly tenant: string
  readonly readers: Map<string, Reader[]>
}

/**
 * Combines the reads of one event-loop tick into one command. One MGET reads a tenant's generation
 * token once, and concurrent misses of one key are one read. It is sent on `nextTick`, so no read
 * waits.
 *
 * All reads that share a command were issued in the same tick. No reply is processed within a tick,
 * so no caller can already know of a state newer than the command it joins.
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

/**
 * Whether Redis rejected keys of several slots in one command. A plain client may also be connected
 * to a Cluster, which reports this error at the first such command.
 */
export function isCrossSlot (error: unknown): boolean {
  return error instanceof Error && error.message.startsWith('CROSSSLOT')
}
