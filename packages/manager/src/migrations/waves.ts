/** How many at once, and when to stop. */
export interface WaveInput {
  readonly jobs: number
  readonly canary: number
  readonly wave: number
  readonly maxFailures: number
  readonly signal: AbortSignal | undefined
}

/**
 * Works through `items` in their order with several workers: the canaries first, then wave after wave, each finished before the
 * next begins. After more than `maxFailures`, after one among the canaries, and once the signal is aborted, what runs is finished
 * and nothing more begun. An error of `work` itself ends everything likewise and is thrown.
 *
 * @param work answers whether it went well
 * @returns how many were not begun
 */
export async function inWaves<T> (
  items: readonly T[],
  { jobs, canary, wave, maxFailures, signal }: WaveInput,
  work: (item: T, worker: number) => Promise<boolean>
): Promise<number> {
  let next = 0
  let failures = 0
  let mayFail = 0
  const errors: unknown[] = []
  const goesOn = (): boolean => failures <= mayFail && errors.length === 0 && signal?.aborted !== true

  const runTo = async (end: number): Promise<void> => {
    await Promise.all(Array.from({ length: Math.min(jobs, end - next) }, async (_, worker) => {
      while (next < end && goesOn()) {
        const item = items[next++] as T
        try {
          if (!await work(item, worker)) failures++
        } catch (error) {
          errors.push(error)
        }
      }
    }))
  }

  await runTo(Math.min(canary, items.length))
  if (failures === 0) mayFail = maxFailures
  while (next < items.length && goesOn()) await runTo(Math.min(next + wave, items.length))
  if (errors.length > 0) throw errors[0]
  return items.length - next
}
