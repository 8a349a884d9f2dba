import { setTimeout as sleep } from 'node:timers/promises'

/** When {@link retried} runs its work again. */
interface Retry {
  readonly attempts: number
  /** The pause after the n-th attempt is n times this, less a random part of up to a half. */
  readonly pauseMs: number
  isPassing(error: unknown): boolean
  readonly signal?: AbortSignal | undefined
}

/** Runs work, and runs it again after a pause if its error will pass. */
export async function retried<T> (
  work: () => Promise<T>,
  { attempts, pauseMs, isPassing, signal }: Retry
): Promise<T> {
  for (let attempt = 1;; attempt++) {
    try {
      return await work()
    } catch (error) {
      if (attempt === attempts || signal?.aborted === true || !isPassing(error)) throw error
      await sleep(pauseMs * attempt * (0.5 + Math.random() / 2))
    }
  }
}
