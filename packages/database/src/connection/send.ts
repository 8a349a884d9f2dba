import { DatabaseUnavailableError } from '@fastify-tenancy/postgres'
import { isServerError } from '@fastify-tenancy/postgres/client'

import { IsolationBreachError } from '../options/errors.ts'
import { UnverifiedRowsError, type BatchEnd, type Tail } from './batch-end.ts'
import type { ConnectionOwner, Query } from './connection-owner.ts'
import type { ConnectionSettings } from './connection-settings.ts'
import type { ConnectionState } from './connection-state.ts'
import { lostError } from './lost-error.ts'
import type { Coming, Opening, Openings } from './openings.ts'
import { PipelinedBatch, type RowReader } from './pipelined-batch.ts'
import { checkBackend } from './pooler.ts'
import { isFailover } from './read-only.ts'

/** How a statement's rows are read and decoded. */
export interface Reading extends RowReader {
  readonly rowMode: Query['rowMode']
  readonly types: unknown
}

/** Sends the batches of one owner on one connection, and records what they do to it. */
export class Sending {
  readonly #connection: { destroy(timeoutMs?: number): void }
  readonly #state: ConnectionState
  readonly #owner: ConnectionOwner
  readonly #settings: ConnectionSettings
  readonly #openings: Openings
  #ended = 0

  /** @param connection the holder of the state */
  constructor (
    connection: { destroy(timeoutMs?: number): void },
    state: ConnectionState,
    owner: ConnectionOwner,
    settings: ConnectionSettings,
    openings: Openings
  ) {
    this.#connection = connection
    this.#state = state
    this.#owner = owner
    this.#settings = settings
    this.#openings = openings
  }

  /**
   * Number of batches that ended. A statement lost in the first batch may never have run, and is
   * then retried on another connection.
   */
  get ended (): number {
    return this.#ended
  }

  /** Sends a batch, and resolves when it has ended. */
  send (opening: Opening, coming: Coming, reading: Reading): Promise<BatchEnd> {
    const { drops, isCheck } = opening
    const { tenant, deadline } = this.#owner
    const state = this.#state
    const destroy = (): void => this.#connection.destroy(0)
    const { guard, onChunk } = reading
    let isOver = false
    const rows: RowReader = onChunk === undefined ? reading : {
      guard,
      // Pauses the reply deadline while the application consumes a chunk. It restarts when the next
      // chunk is requested.
      onChunk: async chunk => {
        state.startDeadline(deadline, undefined)
        const isWanted = await onChunk(chunk)
        if (!isOver) state.startDeadline(deadline, destroy)
        return isWanted
      }
    }
    const decoding = { types: reading.types ?? this.#settings.types, rowMode: reading.rowMode }
    return new Promise<BatchEnd>(resolve => {
      const batch = new PipelinedBatch(opening, decoding, rows, end => {
        isOver = true
        this.#finish(end, opening.tail)
        if (opening.dropsSequences && end.error === undefined)
          state.traces.keepSequencesOf(coming.usesSequences ? tenant : undefined)
        if (isCheck && end.isResetError)
          void this.#settings.roleSettings?.pin().catch(() => {}).then(() => resolve(end))
        else resolve(end)
      })
      if (!state.isHeldBy(this.#connection)) throw returnedError()
      if (state.isDead) throw lostError(state.fatal)
      state.startDeadline(deadline, destroy)
      // Recorded only now. If a value could not be encoded, the batch was never sent, and the next
      // statement still needs the reset.
      if (drops === 'everything') state.reset()
      else if (drops === 'names') state.dropNames()
      if (isCheck) state.isChecked = true
      state.traces.add(tenant, coming.isHarmless, coming.usesSequences)
      this.#openings.isBeginPending = false
      state.send(batch)
    })
  }

  /** Decides from a batch's end whether the connection can be reused. */
  #finish (end: BatchEnd, tail: Tail | undefined): void {
    const { error, status, isResetError, undoAnswer } = end
    const state = this.#state
    this.#ended++
    state.finish(end)
    if (
      tail?.undo !== undefined && status !== undefined &&
      !checkBackend(this.#openings.backend, undoAnswer, this.#owner.tenant)
    ) state.break(this.#connection)
    if (error === undefined) return
    if (error instanceof IsolationBreachError) this.#connection.destroy()
    const isEnd = status === undefined || !isServerError(error) || isResetError
    if (isEnd ? !(error instanceof UnverifiedRowsError) : isFailover(error, this.#hasAskedReadOnly))
      state.break(this.#connection)
  }

  /** Whether the owner asked for a read-only transaction. */
  get #hasAskedReadOnly (): boolean {
    return this.#owner.isReadOnly === true || this.#openings.begun?.includes('read only') === true
  }
}

/** Returns the error of a statement whose connection was returned before. */
export function returnedError (): Error {
  return new DatabaseUnavailableError(
    'The connection was returned before this statement ran: await every statement of a transaction'
  )
}
