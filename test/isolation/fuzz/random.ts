/**
 * A source of random choices that a seed repeats. Algorithm: mulberry32,
 * https://gist.github.com/tommyettinger/46a874533244883189143505d203312c
 */
export class Random {
  #state: number
  /** The names of the constructs that were chosen. */
  readonly used: Set<string>
  /** Names that now and then stand in the place of a column's. @default none */
  readonly hostile: readonly string[]

  constructor (seed: number, used: Set<string> = new Set(), hostile: readonly string[] = []) {
    this.#state = seed >>> 0
    this.used = used
    this.hostile = hostile
  }

  next (): number {
    this.#state = (this.#state + 0x6D2B79F5) >>> 0
    let t = this.#state
    t = Math.imul(t ^ (t >>> 15), t | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296
  }

  below (limit: number): number {
    return Math.floor(this.next() * limit)
  }

  chance (probability: number): boolean {
    return this.next() < probability
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
