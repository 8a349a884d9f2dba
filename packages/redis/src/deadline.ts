/**
 * Calls `onLate` with an error when {@link met} was not called within so many milliseconds.
 *
 * When the event loop was busy for so long, the answer may be here and not yet read: timers run before sockets are read,
 * so the end is put off until they were. A process under load must not take its own lateness for an outage.
 */
export class Deadline {
  readonly #timer: NodeJS.Timeout
  #isOver = false

  constructor (within: number, onLate: (error: Error) => void) {
    this.#timer = setTimeout(() => setImmediate(() => {
      if (this.met()) onLate(new Error(`no answer within ${within} ms`))
    }), within)
  }

  /** Ends the deadline; false when it had ended before. */
  met (): boolean {
    if (this.#isOver) return false
    this.#isOver = true
    clearTimeout(this.#timer)
    return true
  }
}

/** Settles as `promise` does, or rejects after `within` milliseconds. What it was waiting for may still happen. */
export function withDeadline<T> (promise: Promise<T>, within: number): Promise<T> {
  return new Promise((resolve, reject) => {
    const deadline = new Deadline(within, reject)
    promise.finally(() => deadline.met()).then(resolve, reject)
  })
}
