/** Number of workers, and when to stop. */
interface WaveInput {
  readonly jobs: number
  readonly canary: number
  readonly wave: number
  readonly maxFailures: number
  readonly signal: AbortSignal | undefined
}

/**
 * Processes `items` in order with several workers: first the canaries, then wave after wave, each
 * completed before the next. Stops after more than `maxFailures`, after a failed canary, or when
 * the signal is aborted. Items in progress are completed. An error thrown by `work` also stops and
 * is thrown.
 *
 * @param work returns whether the item succeeded
 * @returns the number of items that were not begun
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
