import type { Tenant } from '@fastify-tenancy/core'

import { readings } from './readings.ts'

/** One value of a tenant that was shown to another tenant. */
interface Shown {
  readonly value: string
  /** The source of the value: `'projects.name'`. */
  readonly of: string
}

/**
 * Minimum length of a text that the kit did not write. A shorter one may belong to any tenant:
 * `'active'`, `'standard'`.
 */
const minForeignLength = 10
/** Minimum number that the kit did not write. A smaller one may belong to any tenant. */
const minForeignNumber = 100_000

/** The values of one tenant, and the search for them in the output to another tenant. */
export class Secrets {
  /** The beginning of every text that the kit writes for this tenant. */
  readonly mark: string
  readonly #tokens = new Map<string, string>()
  readonly #phrases = new Map<string, string>()
  /**
   * Values that the other tenant has sent, because the application may have stored them as that
   * tenant's own.
   */
  readonly #sent = new Set<string>()

  constructor (mark: string, { id, slug, name, domains, settings }: Tenant) {
    this.mark = mark
    this.#put(id, 'tenant.id', 4)
    this.#put(slug, 'tenant.slug', 4)
    if (name !== slug) this.#put(name, 'tenant.name', minForeignLength)
    for (const domain of domains) this.#put(domain, 'tenant.domains', minForeignLength)
    this.add('tenant.settings', settings)
  }

  /** Adds all texts and large numbers of a value. */
  add (of: string, value: unknown): void {
    if (typeof value === 'string') this.#put(value, of, value.includes(this.mark) ? 1 : minForeignLength)
    else if (typeof value === 'bigint' || typeof value === 'number') {
      if (Math.abs(Number(value)) >= minForeignNumber) this.#put(String(value), of, 1)
    } else if (Array.isArray(value)) { for (const item of value) this.add(of, item) }
    else if (
      typeof value === 'object' && value !== null && !(value instanceof Date) && !Buffer.isBuffer(value)
    ) {
      for (const [name, member] of Object.entries(value)) this.add(`${of}.${name}`, member)
    }
  }

  /** Removes values that another tenant has too, such as the default of a column. */
  removeShared (values: Iterable<unknown>): void {
    for (const value of values) {
      const text = String(value).toLowerCase()
      this.#tokens.delete(text)
      this.#phrases.delete(text)
    }
  }

  /**
   * Excludes the values in a text that the other tenant sends, because the application may return
   * them to it.
   */
  giveAway (text: string): void {
    for (const { value } of this.find(text)) this.#sent.add(value)
  }

  /**
   * Returns the values of this tenant in a text.
   *
   * @param sent texts that the other tenant sent. A value in them is an echo and not a leak
   */
  find (text: string, sent = ''): Shown[] {
    const known = sent === '' ? '' : readings(sent).join('\n').toLowerCase()
    const found = new Map<string, Shown>()
    const note = (value: string, of: string): void => {
      if (!known.includes(value) && !this.#sent.has(value)) found.set(value, { value, of })
    }
    for (const reading of readings(text)) {
      const lower = reading.toLowerCase()
      if (lower.includes(this.mark)) {
        for (const [value] of lower.matchAll(new RegExp(`${this.mark}[a-z0-9]*`, 'g')))
          note(value, this.#tokens.get(value) ?? 'a value that the kit sent or planted')
      }
      // Rows repeat their values, so look at each only once.
      for (const token of new Set(lower.match(/[\p{L}\p{N}_-]{4,}/gu))) {
        const of = this.#tokens.get(token)
        if (of !== undefined) note(token, of)
        else if (token.length > 36) {
          for (const [id] of token.matchAll(/[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}/g)) {
            const owner = this.#tokens.get(id)
            if (owner !== undefined) note(id, owner)
          }
        }
      }
      for (const [phrase, of] of this.#phrases) if (lower.includes(phrase)) note(phrase, of)
    }
    return [...found.values()]
  }

  #put (value: string, of: string, min: number): void {
    if (value.length < min) return
    const text = value.toLowerCase()
    if (/^[\p{L}\p{N}_-]{4,}$/u.test(text)) this.#tokens.set(text, of)
    else if (!/^\d{4}-\d\d-\d\d[t ]/.test(text)) this.#phrases.set(text, of)
  }
}
