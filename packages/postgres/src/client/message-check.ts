const headerLength = 5

/** PostgreSQL sends nothing longer: its own buffers end at 1 GiB. */
const longestMessage = 2 ** 30

const code = (letter: string): number => letter.charCodeAt(0)

/** The messages that pg reads. https://www.postgresql.org/docs/current/protocol-message-formats.html */
const known: ReadonlySet<number> = new Set([...'123ACDEGHIKNRSTWZcdnst'].map(code))

const error = code('E')
const notice = code('N')

/**
 * Follows the server's messages from one to the next, and throws at what pg's parser would take for another message or
 * would never come to the end of: an unknown type, a length that cannot be, an error or a notice without its end.
 */
export class MessageCheck {
  readonly #header = Buffer.alloc(headerLength)
  #headerBytes = 0
  /** Bytes of the present message that have not come yet. */
  #left = 0
  #type = 0
  /** The last two bytes of the present message, as far as it has come. */
  #tail = -1

  /** @throws Error for a message that must not reach the parser */
  read (chunk: Buffer): void {
    let at = 0
    while (at < chunk.length) {
      if (this.#left > 0) {
        const end = Math.min(chunk.length, at + this.#left)
        this.#left -= end - at
        if (this.#type === error || this.#type === notice) this.#readTail(chunk, at, end)
        at = end
      } else if (this.#headerBytes === 0 && chunk.length - at >= headerLength) {
        this.#begin(chunk, at)
        at += headerLength
      } else {
        this.#header[this.#headerBytes++] = chunk[at++] as number
        if (this.#headerBytes < headerLength) continue
        this.#headerBytes = 0
        this.#begin(this.#header, 0)
      }
    }
  }

  #begin (bytes: Buffer, at: number): void {
    const type = bytes[at] as number
    const length = bytes.readUInt32BE(at + 1)
    if (!known.has(type))
      throw new InternalError(`the server sent a message of the unknown type 0x${type.toString(16)}`)
    if (length < 4 || length > longestMessage)
      throw new InternalError(`the server sent a message of ${length} bytes`)
    this.#type = type
    this.#left = length - 4
    this.#tail = 0
    if (this.#left === 0 && (type === error || type === notice))
      throw new InternalError('the server sent an empty error')
  }

  // Fields end with NUL, and so does their list: two at the end, or one alone where there is no field.
  #readTail (chunk: Buffer, start: number, end: number): void {
    for (let at = Math.max(start, end - 2); at < end; at++)
      this.#tail = (this.#tail << 8 | (chunk[at] as number)) & 0xffff
    if (this.#left === 0 && this.#tail !== 0)
      throw new InternalError('the server sent an error without its end')
  }
}
import { InternalError } from '@fastify-tenancy/core'
