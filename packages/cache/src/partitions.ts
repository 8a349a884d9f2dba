import { LRUCache } from 'lru-cache'

/** What a kept item costs beside its own text: map nodes, object headers. Counting it bounds the number of items too. */
const itemOverhead = 256
/** What a tenant costs that keeps nothing. */
const tenantOverhead = 4_096

/** Something kept in memory for one tenant, until a time. */
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
 * Memory shared by all tenants of a process under one bound in bytes. A tenant may take an eighth of it. When all is taken, a tenant
 * that holds more than its fair share (the bound over the number of tenants) gives way itself;
 * only one that holds less may push out others, those unused longest first. So no tenant evicts the rest.
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

  /** The state of a tenant, made where there is none. */
  state (tenant: string): State {
    return this.#use(tenant).state
  }

  /** The state of a tenant; undefined where nothing was asked of it yet. */
  stateIfAny (tenant: string): State | undefined {
    return this.#tenants.get(tenant)?.state
  }

  /** The item under a key, while it lives. */
  get (tenant: string, key: string): Item | undefined {
    if (!this.#tenants.has(tenant)) return undefined
    const item = this.#use(tenant).items.get(key)
    if (item === undefined || item.expiresAt > this.#now()) return item
    this.delete(tenant, key)
    return undefined
  }

  /** All items of a tenant, dead ones too. */
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

  /** Forgets all of a tenant, its state too. */
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
