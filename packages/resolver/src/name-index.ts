import type { TenantChange, TenantRegistry } from '@fastify-tenancy/core'

import type { LookupKey } from './lookup-key.ts'

/**
 * Every slug and domain that any tenant has: a name that is not among them costs no look-up. It is read from the
 * registry's `list()` and learns new names from announced changes. It is read anew whenever changes may have been missed,
 * and every `interval` while the registry does not tell of each write. Until it has been read it denies nothing. 100,000 names hold about 8 MB.
 */
export class NameIndex {
  readonly #registry: TenantRegistry
  readonly #interval: number
  #names: Set<string> | undefined
  /** Counts reasons to read anew, so that an older reading does not count. */
  #reading = 0
  /** Names announced while a reading is under way, which it may have passed already. */
  #announced: string[] = []
  #isReading = false
  #timer: NodeJS.Timeout | undefined

  constructor (registry: TenantRegistry, interval: number) {
    this.#registry = registry
    this.#interval = interval
  }

  /** Whether nobody has this name. Ids are not indexed. */
  lacks ({ kind, value }: LookupKey): boolean {
    return this.#names !== undefined && kind !== 'id' && !this.#names.has(value)
  }

  add ({ slugs, domains }: TenantChange): void {
    for (const name of [...slugs, ...domains]) {
      this.#names?.add(name)
      if (this.#isReading) this.#announced.push(name)
    }
  }

  /** Denies nothing until it has been read again. */
  invalidateAll (): void {
    this.#names = undefined
    void this.read()
  }

  /**
   * @param isHearing whether the registry tells of each write at this moment, so that nothing has to be read again. After
   * a gap it says that changes may have been missed: see {@link invalidateAll}.
   */
  start (isHearing: () => boolean = () => false): void {
    void this.read()
    this.#timer = setInterval(() => {
      // A reading that failed is made up for: without one, made-up names cost look-ups.
      if (!isHearing() || this.#names === undefined) void this.read()
    }, Math.min(this.#interval, maxTimer)).unref()
  }

  stop (): void {
    clearInterval(this.#timer)
    this.#reading++
  }

  /** Reads all names. While the registry is down the older names stay, if there are any. */
  async read (): Promise<void> {
    const reading = ++this.#reading
    this.#announced = []
    this.#isReading = true
    const names = new Set<string>()
    try {
      for await (const { slug, domains } of this.#registry.list()) {
        if (reading !== this.#reading) return
        names.add(slug)
        for (const domain of domains) names.add(domain)
      }
    } catch {
      if (reading === this.#reading) this.#isReading = false
      return
    }
    if (reading !== this.#reading) return
    this.#isReading = false
    for (const name of this.#announced) names.add(name)
    this.#names = names
  }
}

// Node takes a longer one for 1 ms.
const maxTimer = 2 ** 31 - 1
