import type { TenantChange, TenantRegistry } from '@fastify-tenancy/core'

import type { LookupKey } from './lookup-key.ts'

/**
 * Every slug and domain of all tenants. A name outside this set costs no look-up. Until the set has
 * been read, it denies no name. 100,000 names hold about 8 MB.
 *
 * It is read from the registry's `list()` and updated by announced changes. It is read again when
 * changes may have been missed, and every `interval` while the registry does not notify of each
 * write.
 */
export class NameIndex {
  readonly #registry: TenantRegistry
  readonly #interval: number
  #names: Set<string> | undefined
  /** Counts the reasons to read again, so that the result of an older read is discarded. */
  #reading = 0
  /** Names announced during a read, which the read may already have passed. */
  #announced: string[] = []
  #isReading = false
  #timer: NodeJS.Timeout | undefined

  constructor (registry: TenantRegistry, interval: number) {
    this.#registry = registry
    this.#interval = interval
  }

  /** Whether no tenant has this name. Ids are not indexed. */
  lacks ({ kind, value }: LookupKey): boolean {
    return this.#names !== undefined && kind !== 'id' && !this.#names.has(value)
  }

  add ({ slugs, domains }: TenantChange): void {
    for (const name of [...slugs, ...domains]) {
      this.#names?.add(name)
      if (this.#isReading) this.#announced.push(name)
    }
  }

  /** Denies no name until the set has been read again. */
  invalidateAll (): void {
    this.#names = undefined
    void this.read()
  }

  /**
   * Reads the names and starts the timer that reads them again.
   *
   * @param isHearing whether the registry currently notifies of each write, so that no further read
   * is needed. After a gap the registry reports that changes may have been missed: see {@link
   * invalidateAll}.
   */
  start (isHearing: () => boolean = () => false): void {
    void this.read()
    this.#timer = setInterval(() => {
      // Retry a failed read, because without the set made-up names cost look-ups.
      if (!isHearing() || this.#names === undefined) void this.read()
    }, Math.min(this.#interval, maxTimer)).unref()
  }

  stop (): void {
    clearInterval(this.#timer)
    this.#reading++
  }

  /** Reads all names. If the registry is down, the previous names stay. */
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

// Node replaces a longer timeout by 1 ms.
const maxTimer = 2 ** 31 - 1
