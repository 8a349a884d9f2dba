// The accuracy of the delay proxy: an echo through it, against the same echo without it.
import { once } from 'node:events'
import { connect, createServer, type AddressInfo, type Socket } from 'node:net'

import { far } from './far.ts'
import { race } from './race.ts'
import { report, markdownTable } from './report.ts'
import { drive } from './workers.ts'

const inFlight = 4
const server = createServer({ noDelay: true }, socket => {
  socket.pipe(socket)
}).listen(0, '127.0.0.1')
await once(server, 'listening')
const { port } = server.address() as AddressInfo
const proxy = await far(`tcp://127.0.0.1:${port}`)
const near = await open(port)
const distant = await open(proxy.port)

const result = await race(
  { name: 'loopback', run: () => drive(inFlight, () => echo(near)) },
  [{ name: 'through the proxy, 0.5 ms each way', run: () => drive(inFlight, () => echo(distant)) }]
)
report(
  'proxy',
  markdownTable(result, [{ figure: 'p50', title: 'p50 ms', digits: 3 }, {
    figure: 'p99',
    title: 'p99 ms',
    digits: 3
  }])
)
for (const socket of [...near, ...distant]) socket.destroy()
server.close()
proxy.stop()

async function open (at: number): Promise<Socket[]> {
  const sockets = Array.from(
    { length: inFlight },
    () => connect({ host: '127.0.0.1', port: at, noDelay: true })
  )
  await Promise.all(sockets.map(socket => once(socket, 'connect')))
  return sockets
}

async function echo (idle: Socket[]): Promise<void> {
  const socket = idle.pop()
  if (socket === undefined) throw new Error('more calls than sockets')
  socket.write('ping')
  await once(socket, 'data')
  idle.push(socket)
}
