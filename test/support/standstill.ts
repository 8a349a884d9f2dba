// SQL that runs while this thread stands still: another session's work at an exact point, in a
// callback that cannot wait.
import { Worker } from 'node:worker_threads'
import type { Test } from 'tap'

export interface Elsewhere {
  /** Runs SQL to its end, as the URL's login, before it returns. */
  run(url: string, sql: string): void
}

export function elsewhere (t: Test): Elsewhere {
  const worker = new Worker(new URL('standstill-worker.ts', import.meta.url))
  t.teardown(() => worker.terminate())
  return {
    run (url, sql) {
      const answer = new Int32Array(new SharedArrayBuffer(2_052))
      worker.postMessage({ url, sql, answer }, [])
      if (Atomics.wait(answer, 0, 0, 20_000) === 'timed-out') throw new Error(`no end: ${sql}`)
      const length = Atomics.load(answer, 0) - 1
      if (length > 0) throw new Error(String.fromCodePoint(...answer.subarray(1, 1 + length)))
    }
  }
}
