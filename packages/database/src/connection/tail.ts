import { isServerError, type WireConnection } from '@fastify-tenancy/postgres/client'

/**
 * A simple query that was written together with the batch before it. PostgreSQL ends each one's
 * reply with its own ReadyForQuery, so each must be the client's active query during its reply.
 */
export class TailQuery {
  // pg records a prepared name for its active query. A simple query has no name.
  readonly name = ''
  readonly text: string
  /** The first column of the last row. */
  answer: string | null | undefined
  error: unknown
  readonly #onSubmit: () => void
  readonly #onLost: (error: unknown) => void

  /**
   * @param onSubmit called when it becomes the active query
   * @param onLost called when the connection broke
   */
  constructor (text: string, onSubmit: () => void, onLost: (error: unknown) => void) {
    this.text = text
    this.#onSubmit = onSubmit
    this.#onLost = onLost
  }

  /** Called by pg. The batch has already written the text to the socket. */
  submit (): void {
    this.#onSubmit()
  }

  handleRowDescription (): void {}

  handleDataRow (message: { fields: readonly (string | null)[] }): void {
    this.answer = message.fields[0] ?? null
  }

  handleCommandComplete (): void {}
  handleEmptyQuery (): void {}
  handlePortalSuspended (): void {}
  handleReadyForQuery (): void {}

  handleError (error: unknown): void {
    if (isServerError(error)) this.error ??= error
    else this.#onLost(error)
  }

  handleCopyInResponse (connection: WireConnection): void {
    connection.sendCopyFail('COPY is not served here')
  }

  handleCopyData (): void {}
}
