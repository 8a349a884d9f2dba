import type { FastifyInstance } from 'fastify'
import type { Server } from 'node:http'
import type { Http2Session } from 'node:http2'

import type { Runs } from './runs.ts'

/**
 * Bounds the application's close. Requests and runs that are under way may end; Node would wait for them as long as they take.
 * After `timeout` milliseconds connections are closed, as by clients that have gone: scopes are aborted, queries cancelled, transactions rolled back.
 */
export function closeInTime (app: FastifyInstance, runs: Runs, timeout: number): void {
  const sessions = new Set<Http2Session>()
  // An HTTP/2 server does not know its own.
  app.server.on('session', (session: Http2Session) => {
    sessions.add(session)
    session.once('close', () => sessions.delete(session))
  })
  let timer: NodeJS.Timeout | undefined
  let ended: Promise<void> | undefined

  app.addHook('preClose', async () => {
    ended = runs.close(timeout)
    timer = setTimeout(() => {
      app.log.warn(`tenancy: some connections were still in use ${timeout} ms after the close began, and are closed`)
      // An HTTPS server is none of http's, and has the same method.
      if ('closeAllConnections' in app.server) (app.server as Server).closeAllConnections()
      for (const session of sessions) session.destroy()
    }, timeout)
  })
  app.addHook('onClose', async () => {
    clearTimeout(timer)
    await ended
  })
}
