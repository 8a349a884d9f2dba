// A separate process that forwards bytes after a delay in each direction:
// `node delay-proxy.ts <port> <milliseconds>`. Reports its own port by IPC.
//
// Timers of Node have a resolution of 1 ms. While bytes are delayed, this process sleeps in steps
// of 50 µs instead (Atomics.wait has the kernel's resolution) and checks for new bytes in between.
// So it keeps no core busy that the measured processes need.
import { once } from 'node:events'
import { connect, createServer, type AddressInfo, type Socket } from 'node:net'

const [port = '', delay = ''] = process.argv.slice(2)
const milliseconds = Number(delay)
const underWay: { readonly due: number; readonly deliver: () => void }[] = []
const never = new Int32Array(new SharedArrayBuffer(4))
const step = 0.05
// Bytes have waited half a sleep of 130 µs on average before they are noticed, plus the way
// through here.
const lag = Math.min(0.12, milliseconds)
let isRunning = false

function later (deliver: () => void): void {
  underWay.push({ due: performance.now() + milliseconds - lag, deliver })
  if (isRunning) return
  isRunning = true
  setImmediate(run)
}

// All bytes have the same delay, so the queue is in order of arrival and of delivery.
function run (): void {
  let now = performance.now()
  for (let next = underWay[0]; next !== undefined && next.due <= now; next = underWay[0]) {
    underWay.shift()
    next.deliver()
    now = performance.now()
  }
  const next = underWay[0]
  isRunning = next !== undefined
  if (next === undefined) return
  // Busy-waits at the end, because a sleep ends up to 80 µs late.
  const left = next.due - now
  if (left > 0.1) Atomics.wait(never, 0, 0, Math.min(step, left - 0.1))
  setImmediate(run)
}

function link (from: Socket, to: Socket): void {
  from.on('data', chunk =>
    later(() => {
      to.write(chunk)
    }))
  from.on('end', () =>
    later(() => {
      to.end()
    }))
  from.on('error', () => {
    to.destroy()
  })
}

const server = createServer({ noDelay: true }, client => {
  const upstream = connect({ host: '127.0.0.1', port: Number(port), noDelay: true })
  link(client, upstream)
  link(upstream, client)
})
server.listen(0, '127.0.0.1')
await once(server, 'listening')
process.send?.((server.address() as AddressInfo).port)
process.on('disconnect', () => process.exit())
