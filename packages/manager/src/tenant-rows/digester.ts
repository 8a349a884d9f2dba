import { createHash } from 'node:crypto'

/** Count, size and hash of lines. */
export interface Digest {
  readonly rows: number
  readonly bytes: number
  readonly sha256: string
}

/** Counts and hashes lines. */
export class Digester {
  readonly #hash = createHash('sha256')
  #rows = 0
  #bytes = 0

  get rows (): number {
    return this.#rows
  }

  add (chunk: Buffer): void {
    this.#hash.update(chunk)
    this.#bytes += chunk.length
    for (let at = chunk.indexOf(10); at !== -1; at = chunk.indexOf(10, at + 1)) this.#rows++
  }

  /** Yields the source's chunks after adding them. */
  async *through (source: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
    for await (const chunk of source) {
      this.add(chunk)
      yield chunk
    }
  }

  /** Returns the digest. Call it once, at the end. */
  digest (): Digest {
    return { rows: this.#rows, bytes: this.#bytes, sha256: this.#hash.digest('hex') }
  }
}
