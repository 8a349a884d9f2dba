import type { Tenant } from '@fastify-tenancy/core'

import { readings } from './readings.ts'

/** One value of a tenant that another tenant was shown. */
export interface Shown {
  readonly value: string
  /** The place that the value belongs to: `'projects.name'`. */
  readonly of: string
}

/** Shorter texts that the kit did not write itself may be anybody's: `'active'`, `'standard'`. */
const minForeignLength = 10
/** Smaller numbers that the kit did not write itself may be anybody's. */
const minForeignNumber = 100_000

/** The values of one tenant, and the search for them in what another tenant is shown. */
export class Secrets {
  /** Begins every text that the kit writes for this tenant. */
  readonly mark: string
  readonly #tokens = new Map<string, string>()
  readonly #phrases = new Map<string, string>()
  /** Values that the other tenant has sent itself: the application may have stored them as its own. */
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

  /** Takes values out that another tenant has as well, such as the default of a column. */
  removeShared (values: Iterable<unknown>): void {
    for (const value of values) {
      const text = String(value).toLowerCase()
      this.#tokens.delete(text)
      this.#phrases.delete(text)
    }
  }

  /** Takes the values in a text of the other tenant out: when they come back, they are its own. */
  giveAway (text: string): void {
    for (const { value } of this.find(text)) this.#sent.add(value)
  }

  /**
   * The values of this tenant in a text.
   *
   * @param sent what the other tenant had sent: a value that comes back from there is no leak
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
      for (const [token] of lower.matchAll(/[\p{L}\p{N}_-]{4,}/gu)) {
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
