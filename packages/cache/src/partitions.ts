import { LRUCache } from 'lru-cache'

/**
 * Bytes of an item beside its text: map nodes and object headers. Counting them also bounds the
 * number of items.
 */
const itemOverhead = 256
/** Bytes of a tenant without items. */
const tenantOverhead = 4_096

/** An item kept in memory for one tenant until a time. */
export interface CachedItem {
  /** Milliseconds of the Unix clock. */
  readonly expiresAt: number
  /** Bytes of its text. */
  readonly size: number
}

interface Partition<Item extends CachedItem, State> {
  readonly items: LRUCache<string, Item>
  readonly state: State
}

/**
 * Memory of all tenants of a process under one bound in bytes. A tenant may use an eighth.
 *
 * When the memory is full, a tenant above its fair share (the bound divided by the number of
 * tenants) evicts its own items. Only a tenant below its share evicts other tenants, least recently
 * used first. So no tenant can evict all others.
 */
export class Partitions<Item extends CachedItem, State> {
  readonly #maxBytes: number
  readonly #maxTenantBytes: number
  readonly #makeState: () => State
  readonly #now: () => number
  /** In the order of last use. */
  readonly #tenants = new Map<string, Partition<Item, State>>()
  #latest: string | undefined
  #bytes = 0

  constructor (maxBytes: number, makeState: () => State, now: () => number) {
    this.#maxBytes = maxBytes
    this.#maxTenantBytes = Math.floor(maxBytes / 8)
    this.#makeState = makeState
    this.#now = now
  }

  get bytes (): number {
    return this.#bytes
  }

  get tenants (): number {
    return this.#tenants.size
  }

  /** Returns the state of a tenant, and creates it if needed. */
  state (tenant: string): State {
    return this.#use(tenant).state
  }

  /** Returns the state of a tenant, or undefined if it was never used. */
  stateIfAny (tenant: string): State | undefined {
    return this.#tenants.get(tenant)?.state
  }

  /** Returns the item of a key, unless it has expired. */
  get (tenant: string, key: string): Item | undefined {
    if (!this.#tenants.has(tenant)) return undefined
    const item = this.#use(tenant).items.get(key)
    if (item === undefined || item.expiresAt > this.#now()) return item
    this.delete(tenant, key)
    return undefined
  }

  /** Returns all items of a tenant, including expired ones. */
  entries (tenant: string): Iterable<[string, Item]> {
    return this.#tenants.get(tenant)?.items.entries() ?? []
  }

  set (tenant: string, key: string, item: Item): void {
    const partition = this.#use(tenant)
    this.#measured(partition, items => items.set(key, item))
    this.#makeRoom(partition)
  }

  delete (tenant: string, key: string): void {
    const partition = this.#tenants.get(tenant)
    if (partition !== undefined) this.#measured(partition, items => items.delete(key))
  }

  /** Drops all items and the state of a tenant. */
  drop (tenant: string): void {
    const partition = this.#tenants.get(tenant)
    if (partition === undefined) return
    this.#tenants.delete(tenant)
    this.#bytes -= partition.items.calculatedSize + tenantOverhead
  }

  clear (): void {
    this.#tenants.clear()
    this.#bytes = 0
  }

  #use (tenant: string): Partition<Item, State> {
    let partition = this.#tenants.get(tenant)
    const isLatest = this.#latest === tenant
    this.#latest = tenant
    if (partition !== undefined) {
      if (isLatest) return partition
      this.#tenants.delete(tenant)
      this.#tenants.set(tenant, partition)
      return partition
    }
    partition = {
      items: new LRUCache<string, Item>({
        maxSize: this.#maxTenantBytes,
        sizeCalculation: (item, key) => item.size + key.length + itemOverhead
      }),
      state: this.#makeState()
    }
    this.#tenants.set(tenant, partition)
    this.#bytes += tenantOverhead
    this.#makeRoom(partition)
    return partition
  }

  #measured (partition: Partition<Item, State>, change: (items: LRUCache<string, Item>) => unknown): void {
    const before = partition.items.calculatedSize
    change(partition.items)
    this.#bytes += partition.items.calculatedSize - before
  }

  #makeRoom (writer: Partition<Item, State>): void {
    while (this.#bytes > this.#maxBytes) {
      if (writer.items.size > 1 && writer.items.calculatedSize > this.#maxBytes / this.#tenants.size) {
        this.#measured(writer, items => items.pop())
        continue
      }
      const [idle] = this.#tenants.keys()
      if (idle === undefined || this.#tenants.size === 1) return
      this.drop(idle)
    }
  }
}
