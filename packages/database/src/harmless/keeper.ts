import type { Facts } from './facts.ts'
import type { Answer } from './read-facts.ts'

/** How long facts count after their reading began, in milliseconds. The README states it. */
export const freshnessMs = 60_000
/** In which age facts are read again, in the background, so that a busy process never waits for fresh ones. */
const refreshMs = 30_000
/** The least time between two readings. */
const restMs = 1_000

/** The facts of one schema, read again when they age. */
export class FactsKeeper {
  readonly #read: () => Promise<Answer>
  readonly #onChange: () => void
  #answer: Answer | undefined
  #readAt = -Infinity
  #begunAt = -Infinity
  #version = 0
  #reading: Promise<void> | undefined
  #expiries = 0
  #isLapsed = true

  /** @param onChange called when the catalog may say something else than before: it does, or was not read for too long. */
  constructor (read: () => Promise<Answer>, onChange: () => void) {
    this.#read = read
    this.#onChange = onChange
  }

  /** Grows with each change of what the catalog says. */
  get version (): number {
    return this.#version
  }

  /** The epoch of the catalog that the facts belong to; '' where that is not known, or they do not count. */
  get epoch (): string {
    return this.#readAt === -Infinity ? '' : this.#answer?.epoch ?? ''
  }

  /** What the catalog said last, however long ago; undefined where it was never read. */
  get last (): Facts | undefined {
    return this.#answer?.facts
  }

  /** Whether the facts still count. Has them read again where they age. */
  get isFresh (): boolean {
    const age = Date.now() - this.#readAt
    if (age > refreshMs) this.hurry()
    if (age <= freshnessMs) return true
    if (!this.#isLapsed) this.#onChange()
    this.#isLapsed = true
    return false
  }

  /** Reads the catalog in the background, at most once a second. */
  hurry (): void {
    if (this.#reading !== undefined || Date.now() - this.#begunAt < restMs) return
    this.refresh().catch(() => {}) // what is not read counts as harmful, and the next second is another try
  }

  /** Reads the catalog. */
  async refresh (): Promise<void> {
    const before = this.#reading
    // A reading that has begun may have looked before the change that this one is asked for.
    const reading = (before ?? Promise.resolve()).catch(() => {}).then(() => this.#readNow())
    this.#reading = reading
    try {
      await reading
    } finally {
      if (this.#reading === reading) this.#reading = undefined
    }
  }

  /** Takes all facts for old until the catalog was read again. */
  expire (): void {
    this.#readAt = -Infinity
    this.#expiries++
  }

  async #readNow (): Promise<void> {
    const begunAt = this.#begunAt = Date.now()
    const expiries = this.#expiries
    const answer = await this.#read()
    const before = this.#answer
    const isSame = answer.signature === before?.signature
    // Equal facts stay the same object: what was judged by them stands.
    this.#answer = isSame && before !== undefined ? { ...before, epoch: answer.epoch } : answer
    if (!isSame) this.#version++
    if (before !== undefined && (!isSame || before.epoch !== answer.epoch)) this.#onChange()
    // What expired meanwhile may have been read before the change.
    if (expiries !== this.#expiries) return
    this.#readAt = begunAt
    this.#isLapsed = false
  }
}
