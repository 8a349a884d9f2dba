import type { Facts } from './facts.ts'
import type { Answer } from './read-facts.ts'

/** Milliseconds after the start of a read until its facts expire. See docs/how-a-statement-travels.md. */
const freshnessMs = 60_000
/**
 * Age in milliseconds at which facts are read again in the background, so that a busy process never
 * waits for them.
 */
const refreshMs = 30_000
/** Least time between two reads, in milliseconds. */
const restMs = 1_000

/** The dependencies of a keeper. */
interface KeeperParts {
  readonly read: () => Promise<Answer>
  /** Returns a counter that grows when all facts expire, whatever their age. */
  readonly generation: () => number
  /** Called when the facts differ from those before. */
  readonly onChange: () => void
  /** Called once when the facts have expired. */
  readonly onLapse?: () => void
}

/** Keeps the facts of one schema and reads them again as they age. */
export class FactsKeeper {
  readonly #parts: KeeperParts
  #answer: Answer | undefined
  /** The time at which the last read began, and its generation. */
  #readAt = -Infinity
  #readIn = -1
  // Set at construction, so that the first statements on a schema are not delayed by a read of its
  // catalog.
  #begunAt = Date.now()
  #version = 0
  #reading: Promise<void> | undefined
  #isLapsed = true

  constructor (parts: KeeperParts) {
    this.#parts = parts
  }

  /** A counter that grows with each change of the facts. */
  get version (): number {
    return this.#version
  }

  /** Returns the catalog epoch of the facts; '' if it is unknown or the facts have expired. */
  get epoch (): string {
    return this.#isCurrent ? this.#answer?.epoch ?? '' : ''
  }

  /** Returns the facts last read, of any age; undefined if none were read. */
  get last (): Facts | undefined {
    return this.#answer?.facts
  }

  /** Whether the facts are still valid. Requests a refresh if they are aging. */
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
    // A failure is ignored: without facts statements count as harmful, and the next second tries
    // again.
    this.refresh().catch(() => {})
  }

  /** Reads the catalog. */
  async refresh (): Promise<void> {
    // A read in progress may have started before the change, so read again after it.
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
    // If the facts are equal, keep the old object, so that verdicts based on it stay valid.
    this.#answer = isSame && before !== undefined ? { ...before, epoch: answer.epoch } : answer
    if (!isSame) this.#version++
    if (before !== undefined && (!isSame || before.epoch !== answer.epoch)) this.#parts.onChange()
    this.#readAt = begunAt
    // The generation at the start of the read, because facts that expired meanwhile may predate the
    // change.
    this.#readIn = generation
    this.#isLapsed = false
  }
}
