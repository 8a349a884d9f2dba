/** The result of `forEach()`. */
export interface ForEachResult {
  readonly done: number
  readonly failed: number
}

/** Settings of `forEach()`. */
interface ForEachSettings<Item> {
  readonly concurrency: number
  /** Ends the iteration: no further work begins. */
  readonly signal?: AbortSignal | undefined
  /**
   * Called for each failure. If it throws, the iteration ends. Without it failures are collected.
   */
  readonly onError?: ((error: unknown, item: Item) => unknown) | undefined
}

/**
 * Does `work` for each item, several at a time. `work` returns whether there was anything to do. A
 * failed item does not stop the others.
 *
 * @throws AggregateError of all failures at the end if there is no `onError`; the error that
 * `onError` threw; the signal's reason.
 */
export async function forEach<Item> (
  items: AsyncIterable<Item>,
  { concurrency, signal, onError }: ForEachSettings<Item>,
  work: (item: Item) => Promise<boolean>
): Promise<ForEachResult> {
  const queue = queued(items)
  const failures: unknown[] = []
  let done = 0
  let failed = 0
  // All workers share one queue. A worker that leaves it with an error ends it for all.
  const worker = async (): Promise<void> => {
    signal?.throwIfAborted()
    for await (const item of queue) {
      try {
        if (await work(item)) done++
      } catch (error) {
        signal?.throwIfAborted()
        failed++
        if (onError === undefined) failures.push(error)
        else await onError(error, item)
      }
      signal?.throwIfAborted()
    }
  }
  const ends = await Promise.allSettled(Array.from({ length: concurrency }, worker))
  const end = ends.find(({ status }) => status === 'rejected')
  if (end?.status === 'rejected') throw end.reason
  if (failures.length > 0)
    throw new AggregateError(failures, `the work for ${failures.length} of ${done + failed} tenants failed`)
  return { done, failed }
}

// An async generator serves calls of next() one after another; other iterators need not.
async function* queued<Item> (items: AsyncIterable<Item>): AsyncGenerator<Item, void> {
  yield* items
}
