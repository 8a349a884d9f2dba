/**
 * Settles as `promise` does, or rejects after `within` milliseconds. What it was waiting for may still happen.
 *
 * When the event loop was busy for so long, the answer may be here and not yet read: timers run before sockets are read,
 * so the end is put off until they were. A process under load must not take its own lateness for an outage.
 */
export function withDeadline<T> (promise: Promise<T>, within: number): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => setImmediate(() => { reject(new Error(`no answer within ${within} ms`)) }), within)
    promise.finally(() => { clearTimeout(timer) }).then(resolve, reject)
  })
}
