/** A command's own deadline; see {@link Deadlines}. */
export class Deadline {
  readonly due: number
  #onLate: ((error: Error) => void) | undefined

  constructor (due: number, onLate: (error: Error) => void) {
    this.due = due
    this.#onLate = onLate
  }

  get isOver (): boolean {
    return this.#onLate === undefined
  }

  /** Ends the deadline; false when it had ended before. */
  met (): boolean {
    if (this.#onLate === undefined) return false
    this.#onLate = undefined
    return true
  }

  miss (error: Error): void {
    const onLate = this.#onLate
    this.#onLate = undefined
    onLate?.(error)
  }
}

/**
 * Deadlines of one length. One timer serves all that are pending: making and clearing one for each command
 * would cost as much as the command's own work.
 *
 * When the event loop was busy for so long, the answer may be here and not yet read: timers run before sockets are read,
 * so the end is put off until they were. A process under load must not take its own lateness for an outage.
 */
export class Deadlines {
  readonly #within: number
  /** In the order in which they end. */
  #pending: Deadline[] = []
  #isTimed = false

  constructor (within: number) {
    this.#within = within
  }

  /** Has `onLate` called with an error unless {@link Deadline.met} is within the time. */
  start (onLate: (error: Error) => void): Deadline {
    const deadline = new Deadline(performance.now() + this.#within, onLate)
    this.#pending.push(deadline)
    if (!this.#isTimed) this.#checkIn(this.#within)
    return deadline
  }

  readonly #check = (): void => {
    this.#isTimed = false
    const now = performance.now()
    this.#pending = this.#pending.filter(deadline => !deadline.isOver)
    const late = this.#pending.findIndex(deadline => deadline.due > now)
    const missed = this.#pending.splice(0, late === -1 ? this.#pending.length : late)
    if (missed.length > 0)
      setImmediate(() => {
        for (const deadline of missed) deadline.miss(new InternalError(`no answer within ${this.#within} ms`))
      })
    const [next] = this.#pending
    if (next !== undefined) this.#checkIn(next.due - now)
  }

  #checkIn (milliseconds: number): void {
    this.#isTimed = true
    setTimeout(this.#check, Math.ceil(milliseconds))
  }
}

/** Settles as `promise` does, or rejects after `within` milliseconds. What it was waiting for may still happen. */
export function withDeadline<T> (promise: Promise<T>, within: number): Promise<T> {
  return new Promise((resolve, reject) => {
    const deadline = new Deadline(within, reject)
    const timer = setTimeout(() =>
      setImmediate(() => {
        deadline.miss(new InternalError(`no answer within ${within} ms`))
      }), within)
    promise.finally(() => {
      clearTimeout(timer)
    }).then(resolve, reject)
  })
}
import { InternalError } from '@fastify-tenancy/core'
