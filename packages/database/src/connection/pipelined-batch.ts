import { InternalError, InternalTypeError } from '@fastify-tenancy/core/errors'
import { encodeValue, isServerError, OneWrite, rowDecoder, type Field, type RowDecoder, type WireClient,
  type WireConnection, type WireMessages, type WireValue } from '@fastify-tenancy/postgres/client'
import type pg from 'pg'

import { IsolationBreachError } from '../options/errors.ts'
import { UnverifiedRowsError, type BatchEnd, type Tail, type TransactionStatus, type UnverifiedRows,
  type WireStatement } from './batch-end.ts'
import { TailQuery } from './tail.ts'
import { isForeign, type RowGuard } from './tripwire.ts'

/** The parts of a batch. */
interface BatchParts {
  readonly statements: readonly WireStatement[]
  /** How many statements at the start reset the connection. */
  readonly resetLength: number
  /** Simple queries that follow in the same write. Each is a transaction unit of its own. */
  readonly tail: Tail | undefined
}

/** How the rows of the last statement are decoded. */
interface Decoding {
  readonly types: unknown
  readonly rowMode: 'array' | undefined
}

/** How the rows of the last statement are read. */
export interface RowReader {
  /** Checks each row before the application can read it. */
  readonly guard: RowGuard | undefined
  /**
   * Receives a chunk of rows. Resolves to false to end the statement; the next chunk is not fetched
   * before it resolves.
   */
  readonly onChunk: ((rows: unknown[]) => Promise<boolean>) | undefined
}

const maxParameters = 65_535

/**
 * Sends several statements in one extended-protocol batch with a single Sync: one round trip, and
 * one implicit transaction if none is open. After an error the server skips up to the Sync, so a
 * statement never runs behind a failed context. The constructor encodes all values, so that a bad
 * value cannot leave half a batch on the wire.
 *
 * https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-EXT-QUERY
 */
export class PipelinedBatch {
  // pg would record this name as prepared at any ParseComplete. The driver keeps its own record
  // instead.
  readonly name = ''
  readonly #statements: readonly WireStatement[]
  readonly #resetLength: number
  readonly #tail: Tail | undefined
  #tailQueries: readonly TailQuery[] = none
  readonly #encoded: readonly WireValue[][]
  readonly #reader: RowReader
  readonly #onEnd: (end: BatchEnd) => void
  readonly #decoder: RowDecoder
  #tag = ''
  #client: WireClient | undefined
  #closing: readonly string[] = []
  #connection: WireConnection | undefined
  #current = 0
  #bound = 0
  /** Number of ReadyForQuery messages received. */
  #ready = 0
  #contextAnswer: string | null = null
  #hasRows = false
  #guarded: readonly number[] = []
  #unverified: UnverifiedRows | undefined
  #error: unknown
  #isResetError = false
  #isEarly = false
  #unbound: WireStatement | undefined
  #parsed: WireStatement[] | undefined
  #gotReply = false
  #isSynced = false
  #isOver = false

  /** @param onEnd called once, from the socket's listener, before pg starts the next query */
  constructor (
    { statements, resetLength, tail }: BatchParts,
    { types, rowMode }: Decoding,
    reader: RowReader,
    onEnd: (end: BatchEnd) => void
  ) {
    this.#statements = statements
    this.#resetLength = resetLength
    this.#tail = tail
    this.#encoded = statements.map(encode)
    this.#decoder = rowDecoder(types, rowMode)
    this.#reader = reader
    this.#onEnd = onEnd
  }

  /** Queues the batch. `closing` are names that it closes on the server first. */
  send (client: WireClient, closing: readonly string[]): void {
    this.#client = client
    this.#closing = closing
    client.query(this as unknown as pg.Submittable)
  }

  /** Called by pg when the connection is free. */
  submit (connection: WireConnection): void {
    this.#connection = connection
    // One write for the whole batch. Otherwise each message would be a packet.
    const messages = new OneWrite(connection)
    for (const name of this.#closing) messages.close({ type: 'S', name })
    this.#statements.forEach(({ text, name, isParsed, chunk }, index) => {
      if (!isParsed) messages.parse({ text, name })
      messages.bind({ portal: '', statement: name, values: this.#encoded[index] ?? [] })
      if (index === this.#last) messages.describe({ type: 'P', name: '' })
      messages.execute({ portal: '', rows: chunk })
    })
    if (this.#statements[this.#last]?.chunk) messages.flush()
    else this.#sync(messages)
    messages.send()
  }

  handleRowDescription (message: { fields: readonly Field[] }): void {
    this.#hasRows = true
    const { guard } = this.#reader
    const guarded = guard?.tenantColumns(message.fields)
    if (guarded !== undefined) this.#guarded = guarded
    else if (guard !== undefined) this.#unverified = { fields: message.fields, rows: [] }
    this.#decoder.addFields(message.fields)
  }

  handleDataRow (message: { fields: readonly (string | null)[] }): void {
    if (this.#current !== this.#last) return this.#answered(message.fields[0] ?? null)
    // After an error (a foreign row, a value that cannot be decoded) the remaining rows are
    // dropped.
    if (this.#error !== undefined) return
    const { guard } = this.#reader
    if (guard !== undefined && isForeign(guard, this.#guarded, message.fields)) {
      this.#error = new IsolationBreachError()
      return
    }
    this.#unverified?.rows.push(message.fields)
    try {
      this.#decoder.rows.push(this.#decoder.parseRow(message.fields))
    } catch (error) {
      this.#error = error
    }
  }

  #answered (value: string | null): void {
    if (this.#current === this.#last - 1) this.#contextAnswer = value
    this.#statements[this.#current]?.onAnswer?.(value)
  }

  handleCommandComplete (message: { text: string }): void {
    this.#tag = message.text
    if (this.#current === this.#last) {
      this.#decoder.addCommandComplete(message)
      this.#sync()
    }
    this.#current++
  }

  handleEmptyQuery (): void {
    this.#tag = ''
    this.#sync()
    this.#current++
  }

  handlePortalSuspended (connection: WireConnection): void {
    // The guard must read the catalog before a row is handed out, and this connection cannot do so
    // while it streams. So end the statement.
    if (this.#unverified !== undefined) this.#error ??= new UnverifiedRowsError(this.#unverified)
    if (this.#error !== undefined) return this.#sync()
    const rows = this.#decoder.rows.splice(0)
    void this.#nextChunk(rows, connection)
  }

  async #nextChunk (rows: unknown[], connection: WireConnection): Promise<void> {
    const isWanted = await this.#reader.onChunk?.(rows)
    if (this.#isOver) return
    if (!isWanted) return this.#sync()
    connection.execute({ portal: '', rows: this.#statements[this.#last]?.chunk ?? 0 })
    connection.flush()
  }

  /**
   * Keeps a server error until ReadyForQuery reports the connection's status. Any other error means
   * that the connection is lost.
   */
  handleError (error: unknown): void {
    this.#error ??= error
    if (!isServerError(error)) return this.#end(undefined)
    this.#isResetError = this.#current < this.#resetLength
    this.#isEarly = this.#current < this.#last
    if (this.#bound === this.#current) this.#unbound = this.#statements[this.#current]
    this.#sync()
  }

  handleReadyForQuery (): void {}

  handleCopyInResponse (connection: WireConnection): void {
    connection.sendCopyFail('COPY is not served here')
  }

  handleCopyData (): void {}

  get #last (): number {
    return this.#statements.length - 1
  }

  #sync (messages: WireMessages | undefined = this.#connection): void {
    if (this.#isSynced) return
    this.#isSynced = true
    messages?.sync()
    if (this.#tail !== undefined) this.#sendTail(this.#tail, messages)
  }

  #sendTail ({ commit, undo }: Tail, messages: WireMessages | undefined): void {
    const queries = [commit, undo].filter(text => text !== undefined).map((text, index) =>
      new TailQuery(text, () => this.#enqueueTail(index + 1), error => this.handleError(error))
    )
    this.#tailQueries = queries
    for (const { text } of queries) messages?.query(text)
    this.#enqueueTail(0)
  }

  // Queue one query at a time, because pg warns if more than one query waits.
  #enqueueTail (index: number): void {
    const query = this.#tailQueries[index]
    if (query !== undefined) this.#client?.query(query as unknown as pg.Submittable)
  }

  // False until the batch is sent. Messages before that belong to an earlier query.
  get #isSent (): boolean {
    return this.#connection !== undefined
  }

  bound (): void {
    if (!this.#isSent) return
    this.#gotReply = true
    this.#bound++
  }

  parsed (): void {
    if (!this.#isSent) return
    this.#gotReply = true
    const statement = this.#statements.slice(this.#current).find(({ isParsed }) => !isParsed)
    if (statement?.name) (this.#parsed ??= []).push(statement)
  }

  ready (status: TransactionStatus): void {
    if (!this.#isSent) return
    if (this.#ready++ === this.#tailQueries.length) this.#end(status)
  }

  /**
   * Fails the batch without waiting for the reply. It sends no second Sync, because a pooler would
   * deliver that reply to its next client.
   */
  abandon (): void {
    if (this.#isSent) this.#sync()
    this.lost()
  }

  /** Fails the batch because the connection ended. */
  lost (): void {
    this.#error ??= new InternalError('Connection terminated unexpectedly')
    this.#end(undefined)
  }

  #end (status: BatchEnd['status']): void {
    if (this.#isOver) return
    this.#isOver = true
    const { rows, fields, command, rowCount } = this.#decoder
    const undone = this.#tail?.undo === undefined ? undefined : this.#tailQueries.at(-1)
    const committed = this.#tail?.commit === undefined ? undefined : this.#tailQueries[0]
    this.#onEnd({
      reply: { rows, fields, command, rowCount, hasRows: this.#hasRows, result: this.#decoder },
      contextAnswer: this.#contextAnswer,
      unverified: this.#unverified,
      error: this.#error ?? committed?.error,
      isResetError: this.#isResetError,
      isEarly: this.#isEarly,
      unbound: this.#unbound,
      parsed: this.#parsed,
      undoAnswer: undone?.error === undefined ? undone?.answer : undefined,
      status,
      tag: this.#tag.split(' ', 1)[0] ?? '',
      neverExecuted: !this.#gotReply && isShutdownNotice(this.#error)
    })
  }
}

const none: readonly TailQuery[] = []

// True for 57P01, 57P02 and 57P05: the server ends the connection. If this is its first message, it
// did not read the batch.
function isShutdownNotice (error: unknown): boolean {
  return isServerError(error) && (error.code === '57P01' || error.code === '57P02' || error.code === '57P05')
}

function encode ({ text, values, isParsed }: WireStatement): WireValue[] {
  // PostgreSQL ends the text at a NUL, so every message after it would be misread.
  if (!isParsed && text.includes('\0'))
    throw new InternalTypeError('a statement must not contain a NUL character')
  if (values.length > maxParameters)
    throw new InternalTypeError(`a statement takes at most ${maxParameters} parameters, got ${values.length}`)
  return values.map(encodeValue)
}
