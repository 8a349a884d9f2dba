/*
 * A separate process: sends requests for one slice at a time, as IPC messages ask, and reports how
 * many were answered. It uses bare sockets and prepared texts, because a server has to wait while
 * the client works. That would slow the fastest server most, and the others would look better than
 * they are.
 */
import { connect, type Socket } from 'node:net'

import { sliceMs } from '../../src/race.ts'

/** How to send one slice. */
export interface Load {
  readonly port: number
  readonly status: number
  readonly connections: number
  /** Requests in flight on each connection. */
  readonly pipelining: number
  /** Connections alternate between so many tenants. */
  readonly tenants: number
}

export interface Answered {
  readonly requests: number
  readonly expected: number
  readonly seconds: number
  /** CPU time of this process, to see whether it was the bottleneck. */
  readonly cpu: number
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
      (_, at) => new Connection(port, `t${1 + at % tenants}.example.com`, status).work(pipelining, until)
    )
  )
  const own = process.cpuUsage(before)
  const answered: Answered = {
    requests: counts.reduce((sum, { requests }) => sum + requests, 0),
    expected: counts.reduce((sum, { expected }) => sum + expected, 0),
    seconds: (performance.now() - start) / 1_000,
    cpu: own.user + own.system
  }
  process.send?.(answered)
}

class Connection {
  readonly #socket: Socket
  readonly #request: string
  readonly #status: string
  #text = ''
  #requests = 0
  #expected = 0
  #inFlight = 0

  constructor (port: number, host: string, status: number) {
    this.#socket = connect({ port, host: '127.0.0.1', noDelay: true }).setEncoding('latin1')
    this.#request = `GET / HTTP/1.1\r\nHost: ${host}\r\nConnection: keep-alive\r\n\r\n`
    this.#status = `HTTP/1.1 ${status}`
  }

  /** Sends a request for each answer, until the time is over and the last request is answered. */
  work (pipelining: number, until: number): Promise<{ requests: number; expected: number }> {
    return new Promise((resolve, reject) => {
      this.#socket.on('connect', () => {
        this.#send(pipelining)
      }).on('error', reject).on('data', (chunk: string) => {
        const answers = this.#read(chunk)
        this.#inFlight -= answers
        if (performance.now() < until) this.#send(answers)
        else if (this.#inFlight === 0)
          this.#socket.end(() => {
            resolve({ requests: this.#requests, expected: this.#expected })
          })
      })
    })
  }

  #send (count: number): void {
    if (count === 0) return
    this.#inFlight += count
    this.#socket.write(count === 1 ? this.#request : this.#request.repeat(count))
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
