import { CacheValueError } from './errors.ts'
import { json, type CacheSerializer } from './options.ts'
import type { CacheRead } from './store.ts'

/** Values to text and back. */
export class Codec {
  readonly #serializer: CacheSerializer
  readonly #maxBytes: number
  readonly #isJson: boolean

  constructor (serializer: CacheSerializer, maxBytes: number) {
    this.#serializer = serializer
    this.#maxBytes = maxBytes
    this.#isJson = serializer === json
  }

  /**
   * The text of a value; undefined where it has none, which is not stored.
   *
   * @throws FST_TENANCY_CACHE_VALUE_REFUSED when it cannot be serialized: a cycle, a bigint.
   */
  encode (value: unknown): string | undefined {
    if (value === undefined) return undefined
    try {
      return this.#serializer.stringify(value)
    } catch (error) {
      throw new CacheValueError('this value cannot be cached: the serializer refused it', { cause: error })
    }
  }

  /** Says why a text cannot be stored; undefined when it can. */
  problem (text: string): string | undefined {
    const bytes = Buffer.byteLength(text)
    return bytes > this.#maxBytes
      ? `this value cannot be cached: ${bytes} bytes, and maxEntryBytes is ${this.#maxBytes}`
      : undefined
  }

  decode (text: string | undefined): unknown {
    return text === undefined ? undefined : this.#serializer.parse(text)
  }

  /** The value that was read; undefined for a miss, and for a text that is no longer understood. */
  decodeRead (read: CacheRead): unknown {
    if (read.isCounter) return wholeNumber(read.payload ?? '')
    try {
      return read.kept !== undefined && this.#isJson ? read.kept.read() : this.decode(read.payload)
    } catch {
      return undefined
    }
  }
}

/** A counter's number; undefined for a text that is none, so that no reader calculates with NaN. */
function wholeNumber (text: string): number | undefined {
  const number = /^-?\d+$/.test(text) ? Number(text) : Number.NaN
  return Number.isSafeInteger(number) ? number : undefined
}
