// Starts flood-app.ts and flood-process.ts, and talks to them.
import { fork, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'

import type { FloodAppOptions, FloodState } from './flood-app.ts'

/** The next task of the flooder. */
export interface Order {
  readonly count: number
  /** @default the number of answers */
  readonly perSecond?: number
}

/** The number of requests by status; 0 for a lost connection. */
export type Statuses = Record<number, number>

export interface FloodedApp {
  readonly child: ChildProcess
  readonly port: number
  state(): Promise<FloodState>
}

export interface Flooder {
  readonly child: ChildProcess
  send(order: Order): Promise<Statuses>
}

export async function startFloodedApp (options: FloodAppOptions): Promise<FloodedApp> {
  const child = fork(join(import.meta.dirname, 'flood-app.ts'), [JSON.stringify(options)], {
    execArgv: [...process.execArgv, '--expose-gc']
  })
  const [port] = await once(child, 'message') as [number]
  return {
    child,
    port,
    state: async () => (await fetch(`http://127.0.0.1:${port}/state`)).json() as Promise<FloodState>
  }
}

/** @param addresses addresses of this machine to send from */
export function startFlooder (port: number, addresses: readonly string[]): Flooder {
  const child = fork(join(import.meta.dirname, 'flood-process.ts'), [JSON.stringify({ port, addresses })])
  return {
    child,
    async send (order) {
      child.send(order)
      return (await once(child, 'message') as [Statuses])[0]
    }
  }
}
