// An address in front of a real server. Nothing listens there until the gate is opened.
import { once } from 'node:events'
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net'
import type { Test } from 'tap'

export interface Gate {
  /** The target's URL with the gate's address in it. */
  readonly url: string
  /** Makes the server reachable. */
  open(): Promise<void>
  /** Refuses connections, and ends open ones. */
  close(): Promise<void>
}

/** Returns a gate to the server of `target`, closed at first and when the test ends. */
export async function gate (t: Test, target: string): Promise<Gate> {
  const { hostname, port: targetPort } = new URL(target)
  const sockets = new Set<Socket>()
  let server: Server | undefined
  const listen = async (port: number): Promise<Server> => {
    const next = createServer(client => {
      const upstream = connect({ host: hostname, port: Number(targetPort) })
      for (const [from, to] of [[client, upstream], [upstream, client]] as const) {
        sockets.add(from)
        from.on('error', () => to.destroy())
        from.pipe(to)
      }
    })
    next.listen(port, '127.0.0.1')
    await once(next, 'listening')
    return next
  }
  const close = async (): Promise<void> => {
    const last = server
    server = undefined
    if (last === undefined) return
    last.close()
    for (const socket of sockets) socket.destroy()
    sockets.clear()
    await once(last, 'close')
  }
  server = await listen(0)
  const { port } = server.address() as AddressInfo
  await close()
  t.teardown(close)
  return {
    url: Object.assign(new URL(target), { hostname: '127.0.0.1', port: String(port) }).href,
    open: async () => {
      server = await listen(port)
    },
    close
  }
}
