// A separate process that requests unknown names, each once, from a few addresses: 32 connections
// with 8 requests in flight each.
import { connect, type Socket } from 'node:net'

import type { Order, Statuses } from './flood.ts'

const { port, addresses } = JSON.parse(process.argv[2] ?? '') as { port: number; addresses: string[] }
const connectionsEach = 32
const inFlightEach = 8
let next = 0

class Connection {
  readonly #socket: Socket
  readonly #onAnswer: (status: number) => void
  inFlight = 0
  #text = ''

  constructor (localAddress: string, onAnswer: (status: number) => void) {
    this.#onAnswer = onAnswer
    this.#socket = connect({ host: '127.0.0.1', port, localAddress })
    this.#socket.setEncoding('latin1').on('data', (chunk: string) => {
      this.#read(chunk)
    }).on('error', () => {}).on('close', () => {
      this.#lose()
    })
  }

  send (): void {
    this.inFlight++
    this.#socket.write(`GET / HTTP/1.1\r\nHost: made-up-${(next++).toString(36)}.example.com\r\n\r\n`)
  }

  end (): void {
    this.#socket.destroy()
  }

  #read (chunk: string): void {
    this.#text += chunk
    let end = 0
    for (const match of this.#text.matchAll(/HTTP\/1\.1 (\d{3})/g)) {
      end = match.index + match[0].length
      this.inFlight--
      this.#onAnswer(Number(match[1]))
    }
    this.#text = this.#text.slice(Math.max(end, this.#text.length - 11)) // a status line may be split
  }

  #lose (): void {
    for (; this.inFlight > 0; this.inFlight--) this.#onAnswer(0)
    this.inFlight = Number.POSITIVE_INFINITY
  }
}

async function flood ({ count, perSecond = Number.POSITIVE_INFINITY }: Order): Promise<Statuses> {
  const statuses: Statuses = {}
  const { promise, resolve } = Promise.withResolvers<void>()
  const began = performance.now()
  let sent = 0
  let answered = 0
  const connections = addresses.flatMap(address =>
    Array.from({ length: connectionsEach }, () =>
      new Connection(address, status => {
        statuses[status] = (statuses[status] ?? 0) + 1
        if (++answered === count) resolve()
        else pump()
      }))
  )
  let turn = 0
  function pump (): void {
    const allowed = Math.min(
      count,
      perSecond === Number.POSITIVE_INFINITY ? count : (performance.now() - began) / 1_000 * perSecond
    )
    for (let looked = 0; sent < allowed && looked < connections.length; looked++) {
      const connection = connections[turn++ % connections.length]
      if (connection === undefined || connection.inFlight >= inFlightEach) continue
      looked = 0
      sent++
      connection.send()
    }
  }
  pump()
  const pace = setInterval(pump, 5)
  await promise
  clearInterval(pace)
  for (const connection of connections) connection.end()
  return statuses
}

process.on('message', (order: Order) => {
  void flood(order).then(statuses => process.send?.(statuses))
})
process.on('disconnect', () => process.exit())
