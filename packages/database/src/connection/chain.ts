/** An element of a {@link Chain}. */
export interface Link<T> {
  readonly value: T
  before: Link<T> | undefined
  after: Link<T> | undefined
  /** The chain that contains it; undefined once it was removed. */
  chain: Chain<T> | undefined
}

/**
 * A queue from whose middle an element can be removed at constant cost. An array moves all later
 * elements, and a Map iterates over the slots of deleted ones. With thousands of waiters both are
 * quadratic.
 */
export class Chain<T> {
  #first: Link<T> | undefined
  #last: Link<T> | undefined
  #size = 0

  get size (): number {
    return this.#size
  }

  get first (): Link<T> | undefined {
    return this.#first
  }

  /** Adds an element at the end. */
  push (value: T): Link<T> {
    const link: Link<T> = { value, before: this.#last, after: undefined, chain: this }
    if (this.#last === undefined) this.#first = link
    else this.#last.after = link
    this.#last = link
    this.#size++
    return link
  }

  /** Removes a link of this chain; a second call does nothing. */
  remove (link: Link<T>): void {
    if (link.chain !== this) return
    const { before, after } = link
    if (before === undefined) this.#first = after
    else before.after = after
    if (after === undefined) this.#last = before
    else after.before = before
    link.chain = undefined
    this.#size--
  }

  /** Removes and returns the first element. */
  shift (): T | undefined {
    const first = this.#first
    if (first !== undefined) this.remove(first)
    return first?.value
  }
}
