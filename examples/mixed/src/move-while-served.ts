import type { Manager, MoveInput } from '@fastify-tenancy/manager'
import type { FastifyInstance } from 'fastify'
import { setTimeout as sleep } from 'node:timers/promises'

/** What happened to a tenant's requests while it was moved. */
export interface Moved {
  readonly written: number
  /** Requests that were answered 503 with `retry-after`, during the pause. */
  readonly postponed: number
  readonly paused: number
}

/** Moves a tenant while a client writes to it, one request after the other. */
export async function moveWhileServed (
  app: FastifyInstance,
  manager: Manager,
  slug: string,
  target: MoveInput
): Promise<Moved> {
  const over = new AbortController()
  let [written, postponed] = [0, 0]
  const write = async (): Promise<void> => {
    const reply = await app.inject({
      method: 'POST',
      url: '/projects',
      headers: { host: `${slug}.localhost` },
      payload: { name: `written during the move to ${target.isolation}` }
    })
    if (reply.statusCode === 201) written++
    else if (reply.statusCode === 503 && reply.headers['retry-after'] !== undefined) {
      postponed++
      await sleep(50) // sooner than a polite client, to see the end of the pause
    } else throw new Error(`unexpected answer: ${reply.statusCode} ${reply.body}`)
  }
  const client = (async () => {
    while (!over.signal.aborted) await write()
    await write() // one after the move
  })()
  try {
    const { paused } = await manager.move({ slug }, target)
    over.abort()
    await client
    await manager.confirmMove({ slug }) // removes the old copy
    return { written, postponed, paused }
  } finally {
    over.abort()
    await client
  }
}
