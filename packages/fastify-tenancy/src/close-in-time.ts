import { InternalError } from '@fastify-tenancy/core/errors'
import type { TenantScope } from '@fastify-tenancy/core'
import type { FastifyInstance } from 'fastify'
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { Http2Session } from 'node:http2'
import type { Socket } from 'node:net'
import { callbackify } from 'node:util'

import { furtherServers } from './fastify-internals.ts'
import type { Runs } from './runs.ts'

/** Work outside replies that the close waits for. */
interface OpenWork {
  readonly runs: Runs
  /** Scopes of requests that outlive their replies. */
  readonly prolonged: ReadonlySet<TenantScope>
}

/**
 * How often idle connections are closed, in milliseconds. Node closes only connections that are
 * idle when the close begins.
 */
const idleInterval = 50

/**
 * Makes the application's close wait for all work: requests on every address, runs, and scopes that
 * outlive their replies. Node alone would wait without limit.
 *
 * After `timeout` milliseconds, connections are closed as if the clients had left: scopes are
 * aborted, queries cancelled, transactions rolled back.
 */
export function closeInTime (app: FastifyInstance, { runs, prolonged }: OpenWork, timeout: number): void {
  // Track connections here, because the server no longer owns upgraded sockets, and an HTTP/2
  // server does not list its sessions.
  const connections = new Set<Socket | Http2Session>()
  const watch = (server: Server): void => {
    for (const event of ['connection', 'session']) {
      server.on(event, (connection: Socket | Http2Session) => {
        connections.add(connection)
        connection.once('close', () => connections.delete(connection))
      })
    }
  }
  const servers = (): readonly Server[] => [app.server, ...furtherServers(app)]
  watch(app.server)
  app.addHook('onListen', async () => {
    for (const server of furtherServers(app)) watch(server)
  })

  let isLate = false
  let deadline: NodeJS.Timeout | undefined
  let idle: NodeJS.Timeout | undefined
  let ended: Promise<unknown> | undefined

  function cut (): void {
    isLate = true
    app.log.warn(
      `tenancy: some connections were still in use ${timeout} ms after the close began, so they are cut`
    )
    for (const connection of connections) connection.destroy()
    for (const scope of prolonged) scope.abort(new InternalError('the application is closing'))
  }

  app.addHook('preClose', async () => {
    ended = runs.close(timeout)
    deadline = setTimeout(cut, timeout)
    // An HTTPS server is not an instance of http.Server, but has the same method. An HTTP/2 server
    // has none.
    idle = setInterval(() => {
      for (const server of servers()) server.closeIdleConnections?.()
    }, idleInterval)
    for (const server of servers()) server.prependListener('request', addRetryAfter)
  })

  const closeFurther = (): Promise<unknown> =>
    Promise.all(
      furtherServers(app).map(server =>
        new Promise<void>(resolve => {
          server.close(() => resolve())
        })
      )
    )

  async function finish (further?: Promise<unknown>): Promise<void> {
    await Promise.all([further, ended])
    while (prolonged.size > 0) {
      if (isLate) {
        for (const scope of prolonged)
          scope.abort(new InternalError('the application is closing'))
      }
      await Promise.all([...prolonged].map(scope =>
        new Promise<void>(resolve => {
          scope.onClose(resolve)
        })
      ))
    }
  }

  // Fastify runs the onClose hooks after its server has closed. Work may still use what the
  // application closes in these hooks, so the server closes last.
  const close = app.server.close.bind(app.server)
  app.server.close = (callback?: (error?: Error) => void) => {
    const further = closeFurther()
    return close(error => callbackify(() => finish(further))(() => callback?.(error)))
  }

  app.addHook('onClose', async () => {
    await finish()
    clearTimeout(deadline)
    clearInterval(idle)
  })
}

// During the close, Fastify answers 503 before any hook runs, so the header is added here.
function addRetryAfter (_request: IncomingMessage, response: ServerResponse): void {
  const { writeHead } = response
  response.writeHead = (status: number, ...rest: readonly unknown[]) => {
    if (status === 503 && !response.hasHeader('retry-after')) response.setHeader('retry-after', '1')
    return Reflect.apply(writeHead, response, [status, ...rest]) as ServerResponse
  }
}
