import type { Duplex } from 'node:stream'

import pg from 'pg'

/*
 * The parts of `pg` that its types leave out and that the driver builds on: the wire messages of a
 * connection, and the row decoder. `pg-cursor` and `pg-query-stream` use the same parts. They are
 * in one file, so that a new major of `pg` is checked against one file.
 */

/** One column of a RowDescription. */
export interface Field {
  readonly name: string
  readonly tableID: number
  readonly columnID: number
  readonly dataTypeID: number
}

/** The wire messages of the extended and the simple query protocol. */
export interface WireMessages {
  parse(message: { text: string; name: string }): void
  bind(message: { portal: string; statement: string; values: readonly WireValue[] }): void
  describe(message: { type: 'P'; name: string }): void
  execute(message: { portal: string; rows: number }): void
  close(message: { type: 'S' | 'P'; name: string }): void
  flush(): void
  sync(): void
  /** Sends a simple query. */
  query(text: string): void
}

export interface WireConnection extends WireMessages {
  readonly stream: Duplex
  /** Attaches the parser to this stream. */
  attachListeners(stream: Duplex): void
  sendCopyFail(reason: string): void
  on(event: string, listener: (message: never) => void): void
  prependListener(event: string, listener: (message: never) => void): void
  once(event: string, listener: () => void): void
  /** Statements that pg regards as prepared, by name. */
  parsedStatements: Record<string, string>
}

export interface WireClient extends pg.ClientBase {
  readonly connection: WireConnection
  readonly processID: number | null
  readonly secretKey: number | null
  readonly host: string
  readonly port: number
}

/** A parameter in its wire format. */
export type WireValue = string | Buffer | null

export interface RowDecoder {
  readonly fields: readonly Field[]
  readonly rows: unknown[]
  readonly command: string | null
  readonly rowCount: number | null
  addFields(fields: readonly Field[]): void
  parseRow(values: readonly (string | null)[]): unknown
  addCommandComplete(message: { text: string }): void
}

interface Internals {
  readonly Result: new(rowMode: 'array' | undefined, types: unknown) => RowDecoder
  readonly Connection: { readonly prototype: WireMessages }
  readonly utils: { prepareValue(value: unknown): WireValue }
}

const internals = pg as unknown as Internals
const { prototype } = internals.Connection

/**
 * Collects messages and writes them to a connection as one buffer. That costs a tenth of a round
 * trip's CPU less than a corked write of several buffers.
 */
export class OneWrite implements WireMessages {
  readonly #connection: WireConnection
  readonly #chunks: Buffer[] = []
  // The methods of pg's Connection write to these properties.
  readonly stream: this = this
  readonly writable = true
  readonly parse: WireMessages['parse'] = prototype.parse
  readonly bind: WireMessages['bind'] = prototype.bind
  readonly describe: WireMessages['describe'] = prototype.describe
  readonly execute: WireMessages['execute'] = prototype.execute
  readonly close: WireMessages['close'] = prototype.close
  readonly flush: WireMessages['flush'] = prototype.flush
  readonly sync: WireMessages['sync'] = prototype.sync
  readonly query: WireMessages['query'] = prototype.query

  constructor (connection: WireConnection) {
    this.#connection = connection
  }

  write (chunk: Buffer): void {
    this.#chunks.push(chunk)
  }

  _send (chunk: Buffer): void {
    this.#chunks.push(chunk)
  }

  send (): void {
    const { stream } = this.#connection
    if (stream.writable) stream.write(Buffer.concat(this.#chunks))
  }
}

/** Encodes a parameter as `pg` does. Throws for a value that cannot be encoded, before sending. */
export function encodeValue (value: unknown): WireValue {
  return internals.utils.prepareValue(value)
}

/**
 * Returns `pg`'s own decoder of rows, with the client's type parsers. It is the result that `pg`'s
 * own `query()` resolves to.
 */
export function rowDecoder (types: unknown, rowMode?: 'array'): RowDecoder {
  return new internals.Result(rowMode, types)
}

/** Returns the client with the members that its types leave out. */
export function wireClient (client: pg.ClientBase): WireClient {
  return client as WireClient
}

/** Whether the server sent this error, as opposed to a connection that broke. */
export function isServerError (error: unknown): error is pg.DatabaseError {
  return error instanceof pg.DatabaseError
}
