import type { Readable } from 'node:stream'

import { textOf } from './readings.ts'

/** The methods of a websocket client that the kit uses. */
interface Socket {
  on(event: 'message', listener: (data: unknown) => void): unknown
  send(data: string): void
  terminate(): void
}

/**
 * A connection that stays open while other requests run: a websocket, or a reply that does not end.
 */
export class LiveConnection {
  readonly where: string
  #received = ''
  readonly #socket: Socket | undefined
  readonly #close: () => void

  constructor (
    where: string,
    source: { readonly socket: Socket } | { readonly stream: Readable; readonly first: string }
  ) {
    this.where = where
    if ('socket' in source) {
      this.#socket = source.socket
      source.socket.on('message', data => {
        this.#received += `${textOf(Buffer.isBuffer(data) ? data : Buffer.from(data as ArrayBuffer))}\n`
      })
      this.#close = () => source.socket.terminate()
    } else {
      const { stream, first } = source
      this.#received = first
      stream.on('data', (chunk: Buffer) => {
        this.#received += String(chunk)
      })
      stream.on('error', () => {})
      this.#close = () => stream.destroy()
    }
  }

  /** Whether it accepts messages. */
  get isSocket (): boolean {
    return this.#socket !== undefined
  }

  send (text: string): void {
    this.#socket?.send(text)
  }

  /** Returns the data received since the last call. */
  take (): string {
    const text = this.#received
    this.#received = ''
    return text
  }

  close (): void {
    this.#close()
  }
}
