/** A clock that only `advance()` moves. */
export interface VirtualClock {
  /** Milliseconds, as `Date.now()` returns them. */
  now(): number
  /** Advances `Date` and `performance.now()` by milliseconds. Timers are not affected. */
  advance(milliseconds: number): void
  /** Restores the real clock. */
  restore(): void
  [Symbol.dispose](): void
}

/**
 * Replaces `Date` and `performance.now()` in this process with a clock that only `advance()` moves,
 * for limits and ttl that are kept in the process.
 *
 * Redis and PostgreSQL keep their own time. A signed context is refused when the clocks differ by
 * more than 30 s, so use in-process stores.
 */
export function virtualClock (start: number = Date.now()): VirtualClock {
  const RealDate = globalThis.Date
  const realNow = performance.now
  const startOfPerformance = performance.now()
  let elapsed = 0
  const now = (): number => start + elapsed
  globalThis.Date = new Proxy(RealDate, {
    construct: (target, values: [], newTarget) =>
      Reflect.construct(target, values.length === 0 ? [now()] : values, newTarget) as object,
    apply: target => new target(now()).toString(),
    get: (target, key, receiver) => key === 'now' ? now : Reflect.get(target, key, receiver) as unknown
  })
  performance.now = () => startOfPerformance + elapsed
  const restore = (): void => {
    globalThis.Date = RealDate
    performance.now = realNow
  }
  return {
    now,
    advance (milliseconds) {
      if (!(milliseconds >= 0)) throw new RangeError('advance() takes milliseconds, 0 or more')
      elapsed += milliseconds
    },
    restore,
    [Symbol.dispose]: restore
  }
}
