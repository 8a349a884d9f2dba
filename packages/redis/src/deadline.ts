import { InternalError } from '@fastify-tenancy/core/errors'

/** The deadline of one command; see {@link Deadlines}. */
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

  /** Ends the deadline. Returns false if it had already ended. */
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
 * Deadlines of equal length. One timer serves all pending ones, because a timer per command costs
 * as much as the command.
 *
 * Timers run before sockets are read, so after a busy period the reply may have arrived unread. The
 * check is therefore repeated after the sockets were read. Otherwise a process under load would
 * take its own delay for an outage.
 */
export class Deadlines {
  readonly #within: number
  /** In the order of their due times. */
  #pending: Deadline[] = []
  #isTimed = false

  constructor (within: number) {
    this.#within = within
  }

  /** Calls `onLate` with an error unless {@link Deadline.met} is called in time. */
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

/**
 * Settles as `promise` does, or rejects after `within` milliseconds. The awaited work may still
 * happen.
 */
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
