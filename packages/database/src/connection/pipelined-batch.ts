import { InternalError, InternalTypeError } from '@fastify-tenancy/core'
import { encodeValue, isServerError, OneWrite, rowDecoder, type Field, type RowDecoder, type WireConnection,
  type WireMessages, type WireValue } from '@fastify-tenancy/postgres/client'

import { IsolationBreachError } from '../options/errors.ts'
import { TailQuery } from './tail.ts'
import { isForeign, type RowGuard } from './tripwire.ts'

/** One statement of a batch, as it goes over the wire. */
export interface WireStatement {
  readonly text: string
  readonly values: readonly unknown[]
  /** The name it is prepared under; `''` for none. */
  readonly name: string
  /** Stands for its text in the record of prepared names. */
  readonly key?: string
  /** Whether the server knows the name already, so that Parse is left out. */
  readonly isParsed: boolean
  /** Rows per portion, for a statement whose rows are read as they come; 0 for all at once. */
  readonly chunk: number
  /** Receives the first column of its row, unless it is the last statement. */
  readonly onAnswer?: (value: string | null) => void
}

/** What a batch sends. */
export interface BatchParts {
  readonly statements: readonly WireStatement[]
  /** How many of the first statements are a reset of the connection. */
  readonly resetLength: number
  /** Simple queries that follow in the same write, each a unit of its own. */
  readonly tail: Tail | undefined
}

/** How the rows of the last statement are decoded. */
export interface Decoding {
  readonly types: unknown
  readonly rowMode: 'array' | undefined
}

export interface Tail {
  /** Ends the transaction of the batch. Its error is the batch's. */
  readonly commit: string | undefined
  /** Undoes what the transaction left in the session. */
  readonly undo: string | undefined
}

/** What the server answered to the last statement of a batch. */
export interface Reply {
  readonly rows: unknown[]
  readonly fields: readonly Field[]
  readonly command: string | null
  readonly rowCount: number | null
  /** True for a statement that answered with a row description: `SELECT … INTO` has the tag of a select, and none. */
  readonly hasRows: boolean
  /** All of the above as `pg`'s own result. */
  readonly result: RowDecoder
}

/** How a batch ended. */
export interface BatchEnd {
  readonly reply: Reply
  /** Columns and rows of a result that nobody could judge yet, as they came: see {@link RowGuard.loadColumns}. */
  readonly unverified: UnverifiedRows | undefined
  /** The first value that the statement before the last answered with. */
  readonly contextAnswer: string | null
  readonly error: unknown
  /** Whether the reset at the start failed, so that PostgreSQL skipped the rest. */
  readonly isResetError: boolean
  /** Whether a statement before the last failed. */
  readonly isEarly: boolean
  /** The statement that failed before it was bound, so that it did not run; undefined for every other error. */
  readonly unbound: WireStatement | undefined
  /** What the undo answered; undefined where there was none, or it failed. */
  readonly undoAnswer: string | null | undefined
  /** The status that ReadyForQuery told: `I` idle, `T` in a transaction, `E` in a failed one; undefined when it never came. */
  readonly status: 'I' | 'T' | 'E' | undefined
  /** The command tag of the last statement that ran; `''` where none did. */
  readonly tag: string
  /** Whether the server took nothing of the batch: it was ending the connection already, and said so first. */
  readonly neverExecuted: boolean
}

export interface UnverifiedRows {
  readonly fields: readonly Field[]
  readonly rows: (readonly (string | null)[])[]
}

/** A portion of an {@link UnverifiedRows} result has come. */
export class UnverifiedRowsError extends Error {
  readonly unverified: UnverifiedRows

  constructor (unverified: UnverifiedRows) {
    super('a table was made since the catalog was read')
    this.unverified = unverified
  }
}

export interface BatchListener {
  /** Names to close on the server first, because the record of them overflowed or the server lost them. Asked for when the batch is sent. */
  takeStatementsToClose(): readonly string[]
  /** Looks at each row of the last statement before anybody else does. */
  readonly guard: RowGuard | undefined
  /** A portion of rows has come; return false to end the statement, or a promise to hold the next portion back. */
  onChunk?(rows: unknown[]): Promise<boolean>
  onParsed(statement: WireStatement): void
  /** Makes `query` the client's active query after the current one. */
  enqueue(query: TailQuery): void
  onEnd(end: BatchEnd): void
}

const maxParameters = 65_535

/**
 * Several statements in one extended-protocol batch with a single Sync: one wait, and one implicit transaction
 * where none is open. On any error the server skips everything up to the Sync, so a context that fails
 * can never let the statement behind it run.
 *
 * Everything is encoded in the constructor, before the first byte is written: a value that cannot be encoded
 * must not leave half a batch on the wire.
 *
 * https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-EXT-QUERY
 */
export class Batch {
  // pg records a prepared name for its active query on any ParseComplete: this batch keeps its own record.
  readonly name = ''
  readonly #statements: readonly WireStatement[]
  readonly #resetLength: number
  readonly #tail: Tail | undefined
  #tailQueries: readonly TailQuery[] = none
  readonly #encoded: readonly WireValue[][]
  readonly #listener: BatchListener
  readonly #decoder: RowDecoder
  #tag = ''
  #connection: WireConnection | undefined
  #current = 0
  #bound = 0
  /** How many ReadyForQuery messages have come. */
  #ready = 0
  #contextAnswer: string | null = null
  #hasRows = false
  #guarded: readonly number[] = []
  #unverified: UnverifiedRows | undefined
  #error: unknown
  #isResetError = false
  #isEarly = false
  #unbound: WireStatement | undefined
  #isHeard = false
  #isSynced = false
  #isOver = false

  constructor (
    { statements, resetLength, tail }: BatchParts,
    { types, rowMode }: Decoding,
    listener: BatchListener
  ) {
    this.#statements = statements
    this.#resetLength = resetLength
    this.#tail = tail
    this.#encoded = statements.map(encode)
    this.#decoder = rowDecoder(types, rowMode)
    this.#listener = listener
  }

  /** Called by pg when the connection is free. */
  submit (connection: WireConnection): void {
    this.#connection = connection
    // Without it each message would be a packet.
    const messages = new OneWrite(connection)
    for (const name of this.#listener.takeStatementsToClose()) messages.close({ type: 'S', name })
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
    const { guard } = this.#listener
    const guarded = guard?.tenantColumns(message.fields)
    if (guarded !== undefined) this.#guarded = guarded
    else if (guard !== undefined) this.#unverified = { fields: message.fields, rows: [] }
    this.#decoder.addFields(message.fields)
  }

  handleDataRow (message: { fields: readonly (string | null)[] }): void {
    if (this.#current !== this.#last) return this.#answered(message.fields[0] ?? null)
    // Rows after a failed parse are not wanted.
    if (this.#error !== undefined) return
    const { guard } = this.#listener
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
    // While its rows come, the connection answers no other question.
    if (this.#unverified !== undefined) this.#error ??= new UnverifiedRowsError(this.#unverified)
    if (this.#error !== undefined) return this.#sync()
    const rows = this.#decoder.rows.splice(0)
    void this.#nextChunk(rows, connection)
  }

  async #nextChunk (rows: unknown[], connection: WireConnection): Promise<void> {
    const isWanted = await this.#listener.onChunk?.(rows)
    if (this.#isOver) return
    if (!isWanted) return this.#sync()
    connection.execute({ portal: '', rows: this.#statements[this.#last]?.chunk ?? 0 })
    connection.flush()
  }

  /** An error of the server is kept until ReadyForQuery tells the connection's state; any other means that it is gone. */
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

  // One by one: pg warns of more than one waiting query.
  #enqueueTail (index: number): void {
    const query = this.#tailQueries[index]
    if (query !== undefined) this.#listener.enqueue(query)
  }

  // Until it is sent, what the connection says is the answer to somebody else.
  get #isSent (): boolean {
    return this.#connection !== undefined
  }

  bound (): void {
    if (!this.#isSent) return
    this.#isHeard = true
    this.#bound++
  }

  parsed (): void {
    if (!this.#isSent) return
    this.#isHeard = true
    const statement = this.#statements.slice(this.#current).find(({ isParsed }) => !isParsed)
    if (statement?.name) this.#listener.onParsed(statement)
  }

  ready (status: 'I' | 'T' | 'E'): void {
    if (!this.#isSent) return
    if (this.#ready++ === this.#tailQueries.length) this.#end(status)
  }

  /** Nothing waits for it any more. It has one Sync, as ever: a pooler would hand the answer to a second one to its next client. */
  abandon (): void {
    if (this.#isSent) this.#sync()
    this.lost()
  }

  /** The connection ended. */
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
    this.#listener.onEnd({
      reply: { rows, fields, command, rowCount, hasRows: this.#hasRows, result: this.#decoder },
      contextAnswer: this.#contextAnswer,
      unverified: this.#unverified,
      error: this.#error ?? committed?.error,
      isResetError: this.#isResetError,
      isEarly: this.#isEarly,
      unbound: this.#unbound,
      undoAnswer: undone?.error === undefined ? undone?.answer : undefined,
      status,
      tag: this.#tag.split(' ', 1)[0] ?? '',
      neverExecuted: !this.#isHeard && isShutdownNotice(this.#error)
    })
  }
}

const none: readonly TailQuery[] = []

// 57P01, 57P02, 57P05: the server ends the connection. Where this is its first message, it has not read the batch.
function isShutdownNotice (error: unknown): boolean {
  return isServerError(error) && (error.code === '57P01' || error.code === '57P02' || error.code === '57P05')
}

function encode ({ text, values, isParsed }: WireStatement): WireValue[] {
  // A NUL would end the text early on the wire, and shift every message behind it.
  if (!isParsed && text.includes('\0'))
    throw new InternalTypeError('a statement must not contain a NUL character')
  if (values.length > maxParameters)
    throw new InternalTypeError(`a statement takes at most ${maxParameters} parameters, got ${values.length}`)
  return values.map(encodeValue)
}
