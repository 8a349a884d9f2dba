import { CacheValueError } from './errors.ts'
import { json, type CacheSerializer } from './options.ts'
import type { CacheRead } from './store.ts'

/** Converts values to text and back. */
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
   * Returns the text of a value, or undefined if it has none. Such a value is not stored.
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

  /** Returns why a text cannot be stored, or undefined if it can. */
  problem (text: string): string | undefined {
    const bytes = Buffer.byteLength(text)
    return bytes > this.#maxBytes
      ? `this value cannot be cached: ${bytes} bytes, and maxEntryBytes is ${this.#maxBytes}`
      : undefined
  }

  decode (text: string | undefined): unknown {
    return text === undefined ? undefined : this.#serializer.parse(text)
  }

  /** Returns the value of a read, or undefined for a miss and for a text that cannot be parsed. */
  decodeRead (read: CacheRead): unknown {
    if (read.isCounter) return wholeNumber(read.payload ?? '')
    try {
      return read.kept !== undefined && this.#isJson ? read.kept.read() : this.decode(read.payload)
    } catch {
      return undefined
    }
  }
}

/**
 * Returns a counter's number, or undefined for other text, so that no caller calculates with NaN.
 */
function wholeNumber (text: string): number | undefined {
  const number = /^-?\d+$/.test(text) ? Number(text) : Number.NaN
  return Number.isSafeInteger(number) ? number : undefined
}
