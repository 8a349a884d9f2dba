/*
 * A separate process: sends requests for one slice at a time, as IPC messages ask, and reports how
 * many were answered. It uses bare sockets and prepared texts, because a server has to wait while
 * the client works. That would slow the fastest server most, and the others would look better than
 * they are.
 */
import { connect, type Socket } from 'node:net'

import { quantile, sliceMs } from '../../src/race.ts'

/** How to send one slice. */
export interface Load {
  readonly port: number
  readonly status: number
  readonly connections: number
  /** Requests in flight on each connection. */
  readonly pipelining: number
  /** How many tenants the connections share. Each connection requests its own tenants in turn. */
  readonly tenants: number
}

export interface Answered {
  readonly requests: number
  readonly expected: number
  readonly seconds: number
  /** CPU time of this process, to see whether it was the bottleneck. */
  readonly cpu: number
  /** Milliseconds, where each connection has one request at a time. */
  readonly p50: number
  readonly p99: number
}

process.on('message', (load: Load) => {
  void shoot(load)
})
process.on('disconnect', () => process.exit())

async function shoot ({ port, status, connections, pipelining, tenants }: Load): Promise<void> {
  const before = process.cpuUsage()
  const start = performance.now()
  const until = start + sliceMs
  const counts = await Promise.all(
    Array.from(
      { length: connections },
      (_, at) => new Connection(port, hostsOf(at, connections, tenants), status).work(pipelining, until)
    )
  )
  const own = process.cpuUsage(before)
  const times = Float64Array.from(counts.flatMap(({ times }) => times)).toSorted()
  const answered: Answered = {
    p50: quantile(times, 0.5),
    p99: quantile(times, 0.99),
    requests: counts.reduce((sum, { requests }) => sum + requests, 0),
    expected: counts.reduce((sum, { expected }) => sum + expected, 0),
    seconds: (performance.now() - start) / 1_000,
    cpu: own.user + own.system
  }
  process.send?.(answered)
}

interface Counts {
  readonly requests: number
  readonly expected: number
  readonly times: readonly number[]
}

/** The hosts of one connection's tenants. */
function hostsOf (at: number, connections: number, tenants: number): string[] {
  const hosts = []
  for (let tenant = at % tenants; tenant < tenants; tenant += connections)
    hosts.push(`t${1 + tenant}.example.com`)
  return hosts
}

class Connection {
  readonly #socket: Socket
  readonly #texts: readonly string[]
  readonly #status: string
  #text = ''
  #requests = 0
  #expected = 0
  #inFlight = 0
  #turn = 0
  #sentAt = 0
  readonly #times: number[] = []

  constructor (port: number, hosts: readonly string[], status: number) {
    this.#socket = connect({ port, host: '127.0.0.1', noDelay: true }).setEncoding('latin1')
    this.#texts = hosts.map(host => `GET / HTTP/1.1\r\nHost: ${host}\r\nConnection: keep-alive\r\n\r\n`)
    this.#status = `HTTP/1.1 ${status}`
  }

  /** Sends a request for each answer, until the time is over and the last request is answered. */
  work (pipelining: number, until: number): Promise<Counts> {
    return new Promise((resolve, reject) => {
      this.#socket.on('connect', () => {
        this.#send(pipelining)
      }).on('error', reject).on('data', (chunk: string) => {
        const answers = this.#read(chunk)
        if (pipelining === 1 && answers === 1) this.#times.push(performance.now() - this.#sentAt)
        this.#inFlight -= answers
        if (performance.now() < until) this.#send(answers)
        else if (this.#inFlight === 0)
          this.#socket.end(() => {
            resolve({ requests: this.#requests, expected: this.#expected, times: this.#times })
          })
      })
    })
  }

  #send (count: number): void {
    if (count === 0) return
    this.#inFlight += count
    this.#sentAt = performance.now()
    let text = ''
    for (let i = 0; i < count; i++) text += this.#texts[this.#turn++ % this.#texts.length]
    this.#socket.write(text)
  }

  /** Returns how many answers this chunk completed. */
  #read (chunk: string): number {
    this.#text += chunk
    let answers = 0
    for (let head = this.#text.indexOf('\r\n\r\n'); head >= 0; head = this.#text.indexOf('\r\n\r\n')) {
      const length = this.#text.indexOf('content-length: ')
      if (length < 0 || length > head) throw new Error('an answer without a length')
      const end = head + 4 + Number.parseInt(this.#text.slice(length + 16, length + 24), 10)
      if (this.#text.length < end) break
      if (this.#text.startsWith(this.#status)) this.#expected++
      this.#requests++
      answers++
      this.#text = this.#text.slice(end)
    }
    return answers
  }
}
