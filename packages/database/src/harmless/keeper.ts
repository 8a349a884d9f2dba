import type { Facts } from './facts.ts'
import type { Answer } from './read-facts.ts'

/** How long facts count after their reading began, in milliseconds. The README states it. */
export const freshnessMs = 60_000
/** In which age facts are read again, in the background, so that a busy process never waits for fresh ones. */
const refreshMs = 30_000
/** The least time between two readings. */
const restMs = 1_000

/** What a keeper works with. */
export interface KeeperParts {
  readonly read: () => Promise<Answer>
  /** Grows when all facts become old, whatever their age. */
  readonly generation: () => number
  /** Called when the catalog says something else than before. */
  readonly onChange: () => void
  /** Called when the facts have become old, once. */
  readonly onLapse?: () => void
}

/** The facts of one schema, read again when they age. */
export class FactsKeeper {
  readonly #parts: KeeperParts
  #answer: Answer | undefined
  /** When the reading of the facts began, and in which generation. */
  #readAt = -Infinity
  #readIn = -1
  // The first statements on a schema do not share the wire with a reading of its catalog.
  #begunAt = Date.now()
  #version = 0
  #reading: Promise<void> | undefined
  #isLapsed = true

  constructor (parts: KeeperParts) {
    this.#parts = parts
  }

  /** Grows with each change of what the catalog says. */
  get version (): number {
    return this.#version
  }

  /** The epoch of the catalog that the facts belong to; '' where that is not known, or they are old. */
  get epoch (): string {
    return this.#isCurrent ? this.#answer?.epoch ?? '' : ''
  }

  /** What the catalog said last, however long ago; undefined where it was never read. */
  get last (): Facts | undefined {
    return this.#answer?.facts
  }

  /** Whether the facts still count. Has them read again where they age. */
  get isFresh (): boolean {
    const age = this.#isCurrent ? Date.now() - this.#readAt : Infinity
    if (age > refreshMs) this.hurry()
    if (age <= freshnessMs) return true
    if (!this.#isLapsed) this.#parts.onLapse?.()
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
    // A reading that has begun may have looked before the change that this one is asked for.
    const reading = (this.#reading ?? Promise.resolve()).catch(() => {}).then(() => this.#readNow())
    this.#reading = reading
    try {
      await reading
    } finally {
      if (this.#reading === reading) this.#reading = undefined
    }
  }

  get #isCurrent (): boolean {
    return this.#readIn === this.#parts.generation()
  }

  async #readNow (): Promise<void> {
    const begunAt = this.#begunAt = Date.now()
    const generation = this.#parts.generation()
    const answer = await this.#parts.read()
    const before = this.#answer
    const isSame = answer.signature === before?.signature
    // Equal facts stay the same object: what was judged by them stands.
    this.#answer = isSame && before !== undefined ? { ...before, epoch: answer.epoch } : answer
    if (!isSame) this.#version++
    if (before !== undefined && (!isSame || before.epoch !== answer.epoch)) this.#parts.onChange()
    this.#readAt = begunAt
    // What became old meanwhile may have been read before the change.
    this.#readIn = generation
    this.#isLapsed = false
  }
}
