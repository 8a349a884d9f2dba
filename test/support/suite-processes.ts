// Applications in processes of their own, on one database and one Redis.
import { fork, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import type { Test } from 'tap'

import type { Orders, SuiteAppOptions } from './suite-app.ts'
import type { Provisioned } from './tenants.ts'
import { until } from './until.ts'

export interface SuiteProcess {
  readonly child: ChildProcess
  readonly port: number
  /** The warnings at boot. */
  readonly log: string
  /** Sends the process a task, and resolves to its result. */
  tell<K extends keyof Orders>(
    name: K,
    ...args: Parameters<Orders[K]>
  ): Promise<Awaited<ReturnType<Orders[K]>>>
}

/** Starts `count` processes with the suite each, killed when the test ends. */
export async function suiteProcesses (
  t: Test,
  count: number,
  on: Provisioned,
  options: Partial<SuiteAppOptions> = {}
): Promise<SuiteProcess[]> {
  const { url, registryUrl, superUrl, secret } = on
  return Promise.all(Array.from({ length: count }, async () => {
    const child = fork(join(import.meta.dirname, 'suite-app.ts'), [
      JSON.stringify({ url, registryUrl, superUrl, secret, ...options })
    ])
    t.teardown(() => {
      child.kill('SIGKILL')
    })
    const [{ port, log }] = await Promise.race([
      once(child, 'message') as Promise<[{ port: number; log: string }]>,
      once(child, 'exit').then(([code]) => {
        throw new Error(`the process of an application ended with ${String(code)} before it was there`)
      })
    ])
    // On a busy machine the first connections may time out, and the application starts without
    // Redis.
    if (options.redis !== undefined) {
      await until(
        async () =>
          (await (await fetch(`http://127.0.0.1:${port}/health`)).json() as { redis: { status: string } })
            .redis.status !== 'down',
        10_000
      )
    }
    const waiting = new Map<number, PromiseWithResolvers<unknown>>()
    child.on('message', ({ id, result, error }: { id: number; result?: unknown; error?: string }) => {
      const order = waiting.get(id)
      waiting.delete(id)
      if (error === undefined) order?.resolve(result)
      else order?.reject(new Error(error))
    })
    let last = 0
    return {
      child,
      port,
      log,
      tell (name, ...args) {
        const order = Promise.withResolvers<unknown>()
        waiting.set(++last, order)
        child.send({ id: last, name, args })
        return order.promise as never
      }
    }
  }))
}
