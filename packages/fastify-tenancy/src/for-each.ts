/** What {@link forEach} did. */
export interface ForEachResult {
  readonly done: number
  readonly failed: number
}

/** How {@link forEach} goes about it. */
export interface ForEachSettings<Item> {
  readonly concurrency: number
  /** Ends it: nothing more is begun. */
  readonly signal?: AbortSignal | undefined
  /** Told of each failure; what it throws ends everything. Without it failures are collected. */
  readonly onError?: ((error: unknown, item: Item) => unknown) | undefined
}

/**
 * Does `work` for each item, a few at a time; it answers whether there was anything to do. An item whose work fails does not
 * keep the others from being done.
 *
 * @throws AggregateError of all failures at the end, where nobody was told of them; what `onError` threw; the signal's reason.
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
  // One queue for all workers: whoever leaves it, with an error, ends it for the rest.
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

// An async generator serves one call of next() after the other, which an iterator in general need not.
async function* queued<Item> (items: AsyncIterable<Item>): AsyncGenerator<Item, void> {
  yield* items
}
