import { entryId, token } from './entry.ts'
import { CacheValueError } from './errors.ts'
import { Partitions, type CachedItem } from './partitions.ts'
import { miss, type CacheLock, type CacheRead, type CacheStore, type CacheWrite,
  type CasToken } from './store.ts'

interface Item extends CachedItem {
  /** Distinguishes the writes of one key. */
  readonly id: string
  /** Undefined if the value was removed: see {@link CacheStore.remove}. */
  readonly payload: string | undefined
  readonly staleAt: number
  readonly isCounter: boolean
  readonly tags: readonly string[]
}

interface TenantState {
  readonly generation: string
  /**
   * Replaced when any tag is invalidated, so that running loads with tags do not store their
   * values.
   */
  tagGeneration: string
}

const removalLife = 60_000

/** Keeps values in this process only, with memory limits per tenant. */
export class MemoryStore implements CacheStore {
  readonly #partitions: Partitions<Item, TenantState>
  readonly #now: () => number

  constructor (maxBytes: number, now: () => number = Date.now) {
    this.#now = now
    this.#partitions = new Partitions(maxBytes, () => ({ generation: token(), tagGeneration: token() }), now)
  }

  peek (tenant: string, key: string): CacheRead | undefined {
    const item = this.#partitions.get(tenant, key)
    if (item?.payload === undefined || item.staleAt <= this.#now()) return undefined
    return { payload: item.payload, staleAt: item.staleAt, isCounter: item.isCounter, casToken: undefined }
  }

  async read (tenant: string, key: string): Promise<CacheRead> {
    return this.#read(tenant, key)
  }

  async readMany (tenant: string, keys: readonly string[]): Promise<CacheRead[]> {
    return keys.map(key => this.#read(tenant, key))
  }

  async begin (tenant: string, key: string, tags: readonly string[]): Promise<CasToken> {
    const { generation, tagGeneration } = this.#partitions.state(tenant)
    return {
      generation,
      entryVersion: this.#partitions.get(tenant, key)?.id ?? '',
      tags: tags.map(() => tagGeneration)
    }
  }

  async write (tenant: string, key: string, value: CacheWrite, casToken?: CasToken): Promise<boolean> {
    if (casToken !== undefined && !this.#isCurrent(tenant, key, casToken)) return false
    this.#put(tenant, key, { ...value, isCounter: false, expiresAt: this.#now() + value.ttl })
    return true
  }

  async remove (tenant: string, keys: readonly string[]): Promise<number> {
    let count = 0
    for (const key of keys) {
      if (this.#partitions.get(tenant, key)?.payload !== undefined) count++
      this.#put(tenant, key, {
        payload: undefined,
        staleAt: Infinity,
        isCounter: false,
        tags: [],
        expiresAt: this.#now() + removalLife
      })
    }
    return count
  }

  async increment (tenant: string, key: string, by: number, ttl: number): Promise<number> {
    const found = this.#partitions.get(tenant, key)
    const old = found?.payload === undefined ? undefined : found
    const isPlain = old === undefined ||
      (/^-?\d+$/.test(old.payload ?? '') && old.tags.length === 0 && old.staleAt === Infinity)
    const sum = Number(old?.payload ?? 0) + by
    if (!isPlain || !Number.isSafeInteger(sum))
      throw new CacheValueError('the value under this key is not a whole number that can be incremented')
    this.#put(tenant, key, {
      payload: String(sum),
      staleAt: Infinity,
      isCounter: true,
      tags: [],
      expiresAt: old?.expiresAt ?? this.#now() + ttl
    })
    return sum
  }

  async invalidateTag (tenant: string, tag: string): Promise<void> {
    this.#partitions.state(tenant).tagGeneration = token()
    const tagged = [...this.#partitions.entries(tenant)].filter(([, item]) => item.tags.includes(tag))
    for (const [key] of tagged) this.#partitions.delete(tenant, key)
  }

  async flush (tenant: string): Promise<void> {
    this.#partitions.drop(tenant)
  }

  /**
   * Returns a lock without effect: in one process, concurrent loads of a key are already shared.
   */
  async lock (): Promise<CacheLock> {
    return async () => {}
  }

  #read (tenant: string, key: string): CacheRead {
    const { generation } = this.#partitions.state(tenant)
    const item = this.#partitions.get(tenant, key)
    const casToken = { generation, entryVersion: item?.id ?? '', tags: [] }
    if (item?.payload === undefined) return miss(casToken)
    return { payload: item.payload, staleAt: item.staleAt, isCounter: item.isCounter, casToken }
  }

  #isCurrent (tenant: string, key: string, casToken: CasToken): boolean {
    const { generation, tagGeneration } = this.#partitions.state(tenant)
    const entryVersion = this.#partitions.get(tenant, key)?.id ?? ''
    return casToken.generation === generation && casToken.entryVersion === entryVersion &&
      casToken.tags.every(tag => tag === tagGeneration)
  }

  #put (tenant: string, key: string, item: Omit<Item, 'id' | 'size'>): void {
    this.#partitions.set(tenant, key, { ...item, id: entryId(), size: Buffer.byteLength(item.payload ?? '') })
  }
}
