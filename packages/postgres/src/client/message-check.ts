import { InternalError } from '@fastify-tenancy/core/errors'

const headerLength = 5

/** Longest message in bytes, because PostgreSQL's own buffers end at 1 GiB. */
const longestMessage = 2 ** 30

const code = (letter: string): number => letter.charCodeAt(0)

/**
 * The messages that pg reads.
 * https://www.postgresql.org/docs/current/protocol-message-formats.html
 */
const known: ReadonlySet<number> = new Set([...'123ACDEGHIKNRSTWZcdnst'].map(code))

const error = code('E')
const notice = code('N')

/**
 * Follows the boundaries of the server's messages. Throws for messages that pg's parser would
 * misread or never finish: an unknown type, an impossible length, or an error or notice without its
 * terminator.
 */
export class MessageCheck {
  readonly #header = Buffer.alloc(headerLength)
  #headerBytes = 0
  /** Bytes of the current message that have not arrived yet. */
  #left = 0
  #type = 0
  /** The last two bytes of the current message that have arrived. */
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

  // Each field ends with NUL, and so does the list: two at the end, or one if there is no field.
  #readTail (chunk: Buffer, start: number, end: number): void {
    for (let at = Math.max(start, end - 2); at < end; at++)
      this.#tail = (this.#tail << 8 | (chunk[at] as number)) & 0xffff
    if (this.#left === 0 && this.#tail !== 0)
      throw new InternalError('the server sent an error without its end')
  }
}
