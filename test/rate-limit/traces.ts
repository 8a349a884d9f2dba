// Arrivals in virtual time, and measures of an exact log of admissions.

/** Returns a small seeded generator of numbers in [0, 1): mulberry32. */
export function random (seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6D2B79F5) | 0
    let x = Math.imul(state ^ (state >>> 15), 1 | state)
    x = (x + Math.imul(x ^ (x >>> 7), 61 | x)) ^ x
    return ((x ^ (x >>> 14)) >>> 0) / 4_294_967_296
  }
}

/**
 * Returns ten minutes of each kind of traffic for a limit of `limit` a minute, as sorted instants
 * in milliseconds.
 */
export function traces (
  limit: number,
  start: number
): Record<'random' | 'overload' | 'bursts' | 'boundary' | 'quiet then all', number[]> {
  const next = random(42)
  const length = 600_000
  const at = (count: number, pick: () => number): number[] =>
    Array.from({ length: count }, () => Math.floor(start + pick())).toSorted((a, b) => a - b)
  const perMinute = Array.from({ length: 10 }, (_, i) => i * 60_000)
  return {
    random: at(limit * 10, () => next() * length),
    overload: at(limit * 50, () => next() * length),
    bursts: at(limit * 20, () => Math.floor(next() * 60) * 10_000 + next() * 200),
    // All requests at the end of one fixed window, and all again at the start of the next.
    boundary: perMinute.flatMap(offset =>
      at(limit, () => offset + 59_900 + next() * 99).concat(at(limit, () => offset + 60_000 + next() * 99))
    ).toSorted((a, b) => a - b),
    'quiet then all': at(limit * 4, () => Math.floor(next() * 4) * 61_500 + next() * 1_500)
  }
}

/** Returns the largest number of instants in any interval of `length` milliseconds. */
export function peak (log: readonly number[], length: number): number {
  let most = 0
  let first = 0
  for (let last = 0; last < log.length; last++) {
    while (log[last]! - log[first]! >= length) first++
    most = Math.max(most, last - first + 1)
  }
  return most
}
