// What each process of the application does for its parent: its port, its samples, and its end.
import type { FastifyInstance } from 'fastify'
import type { AddressInfo } from 'node:net'
import { monitorEventLoopDelay } from 'node:perf_hooks'

/** What a process tells its parent. */
export interface ChildMessage {
  readonly port?: number
  readonly sample?: { readonly heap: number; readonly handles: number }
  /** How long the event loop stood still, in milliseconds. */
  readonly stallMs?: number
}

/** A stall of this length may look like an outage to a client of Redis. */
const longStallMs = 100

/** Listens, and answers the parent until it ends. */
export async function answerParent (app: FastifyInstance): Promise<void> {
  process.on('message', () => {
    global.gc?.()
    send({
      sample: { heap: process.memoryUsage().heapUsed, handles: process.getActiveResourcesInfo().length }
    })
  })
  process.on('disconnect', () => process.exit())
  process.once('SIGTERM', () => {
    void app.close().then(() => process.exit(0))
  })
  const delay = monitorEventLoopDelay()
  delay.enable()
  setInterval(() => {
    const stallMs = delay.max / 1e6
    delay.reset()
    if (stallMs > longStallMs) send({ stallMs })
  }, 500).unref()
  await app.listen({ port: 0, host: '127.0.0.1' })
  send({ port: (app.server.address() as AddressInfo).port })
}

function send (message: ChildMessage): void {
  if (process.connected) process.send?.(message)
}
