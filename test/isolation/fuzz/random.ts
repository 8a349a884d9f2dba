import fc from 'fast-check'

/** A seed, or the choices themselves as numbers below 2 ** 32. After the last one all are 0. */
export type Choices = number | readonly number[]

const numbers = 2 ** 32

/** Choices that fast-check shrinks: fewer of them, and smaller ones, make a simpler statement. */
export const choices: fc.Arbitrary<number[]> = fc.noBias(
  fc.array(fc.integer({ min: 0, max: numbers - 1 }), { maxLength: 300, size: 'max' })
)

/**
 * A source of random choices that a seed repeats. Algorithm: mulberry32,
 * https://gist.github.com/tommyettinger/46a874533244883189143505d203312c
 */
export class Random {
  #state: number
  readonly #tape: readonly number[] | undefined
  /** The names of the constructs that were chosen. */
  readonly used: Set<string>
  /** Names that now and then stand in the place of a column's. @default none */
  readonly hostile: readonly string[]

  constructor (choices: Choices, used: Set<string> = new Set(), hostile: readonly string[] = []) {
    this.#tape = typeof choices === 'number' ? undefined : choices
    // The place on the tape, or the state of the generator.
    this.#state = typeof choices === 'number' ? choices >>> 0 : 0
    this.used = used
    this.hostile = hostile
  }

  next (): number {
    if (this.#tape !== undefined) return (this.#tape[this.#state++] ?? 0) / numbers
    this.#state = (this.#state + 0x6D2B79F5) >>> 0
    let t = this.#state
    t = Math.imul(t ^ (t >>> 15), t | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / numbers
  }

  below (limit: number): number {
    return Math.floor(this.next() * limit)
  }

  chance (probability: number): boolean {
    // False for 0, so that a shorter tape makes a simpler statement.
    return this.next() >= 1 - probability
  }

  pick<T> (items: readonly T[]): T {
    const item = items[this.below(items.length)]
    if (item === undefined && items.length === 0) throw new Error('nothing to pick from')
    return item as T
  }

  /** One of the named makers; its name is remembered as a construct that was used. */
  choose<T> (makers: Readonly<Record<string, () => T>>): T {
    const name = this.pick(Object.keys(makers))
    this.used.add(name)
    return (makers[name] as () => T)()
  }
}
