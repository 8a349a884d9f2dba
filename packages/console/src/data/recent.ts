import { setTimeout as sleep } from 'node:timers/promises'

/** A value that was read a short while ago. */
interface TimedReading<T> {
  readonly value: T
  readonly at: Date
  /** How long the read took, in milliseconds. */
  readonly took: number
}

/** What is known of a value that takes long to read. */
export interface KnownReading<T> {
  /** Undefined before the first read has ended. */
  readonly reading: TimedReading<T> | undefined
  /** Why the last read failed; undefined where it did not. */
  readonly error: unknown
  /** Whether a read is under way. */
  readonly isReading: boolean
}

/**
 * Reads a value at most once at a time, and keeps it for a while, so that reloading a page costs
 * the database nothing.
 */
export class Recent<T> {
  readonly #read: () => Promise<T>
  readonly #maxAgeMs: number
  readonly #patienceMs: number
  #reading: TimedReading<T> | undefined
  #error: unknown
  #running: Promise<void> | undefined

  /**
   * @param maxAgeMs from then on the value is read again
   * @param patienceMs how long a caller waits for a read before it gets what is known
   */
  constructor (read: () => Promise<T>, maxAgeMs: number, patienceMs: number) {
    this.#read = read
    this.#maxAgeMs = maxAgeMs
    this.#patienceMs = patienceMs
  }

  /** What is known, read again where it is too old. Never rejects. */
  async get (maxAgeMs: number = this.#maxAgeMs): Promise<KnownReading<T>> {
    const age = this.#reading === undefined ? Infinity : Date.now() - this.#reading.at.getTime()
    if (age >= maxAgeMs) {
      this.#running ??= this.#start()
      const patience = new AbortController()
      await Promise.race([
        this.#running,
        sleep(this.#patienceMs, undefined, { signal: patience.signal }).catch(() => {})
      ])
      patience.abort()
    }
    return { reading: this.#reading, error: this.#error, isReading: this.#running !== undefined }
  }

  async #start (): Promise<void> {
    const begun = performance.now()
    try {
      const value = await this.#read()
      this.#reading = { value, at: new Date(), took: performance.now() - begun }
      this.#error = undefined
    } catch (error) {
      this.#error = error
    } finally {
      this.#running = undefined
    }
  }
}
