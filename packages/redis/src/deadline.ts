/** Settles as `promise` does, or rejects after `within` milliseconds. What it was waiting for may still happen. */
export function withDeadline<T> (promise: Promise<T>, within: number): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => { reject(new Error(`no answer within ${within} ms`)) }, within)
    promise.then(resolve, reject).finally(() => { clearTimeout(timer) })
  })
}
