// One request of a client, which may lose its patience.
import { Agent, request } from 'node:http'

export interface Answer {
  /** 0 if no answer came. */
  readonly status: number
  readonly body: unknown
  readonly retryAfter: string | undefined
  readonly isAborted: boolean
}

export interface Request {
  readonly port: number
  readonly host: string
  readonly method: 'GET' | 'POST'
  readonly path: string
  readonly body?: object
  /** Ends the connection after so many milliseconds without an answer. @default never */
  readonly patienceMs?: number | undefined
  /** Counts as unanswered after so many milliseconds. */
  readonly giveUpMs: number
}

/** Keeps connections, as a proxy in front of the application does. */
export class Client {
  // A connection that the server closes while it is idle would look like a lost answer.
  readonly #agent = new Agent({ keepAlive: true, timeout: 2_000 })

  send ({ port, host, method, path, body, patienceMs, giveUpMs }: Request): Promise<Answer> {
    const { promise, resolve } = Promise.withResolvers<Answer>()
    let isAborted = false
    const none = (): void => {
      clearTimeout(patience)
      resolve({ status: 0, body: undefined, retryAfter: undefined, isAborted })
    }
    const payload = body === undefined ? undefined : JSON.stringify(body)
    const sent = request({
      host: '127.0.0.1',
      port,
      method,
      path,
      agent: this.#agent,
      headers: { host, ...(payload !== undefined && { 'content-type': 'application/json' }) }
    }, response => {
      let text = ''
      response.setEncoding('utf8').on('data', (chunk: string) => {
        text += chunk
      }).on('end', () => {
        clearTimeout(patience)
        const retryAfter = response.headers['retry-after']
        resolve({ status: response.statusCode ?? 0, body: parse(text), retryAfter, isAborted })
      }).on('error', none)
    }).on('error', none)
    const patience = setTimeout(() => {
      isAborted = patienceMs !== undefined
      sent.destroy()
    }, patienceMs ?? giveUpMs)
    sent.end(payload)
    return promise
  }

  close (): void {
    this.#agent.destroy()
  }
}

function parse (text: string): unknown {
  try {
    return JSON.parse(text) as unknown
  } catch {
    return text
  }
}
