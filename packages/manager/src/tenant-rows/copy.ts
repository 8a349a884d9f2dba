import pg from 'pg'

import { Digester, type Digest } from './digester.ts'

/** The size of the buffers that rows are gathered in. Two of them serve however many rows there are. */
const size = 65_536

/**
 * The lines of a query, as they are: JSON has no control characters, so that none is ever quoted. To be read once.
 * What is read is whole lines, and good until the next is asked for: the buffers are used again, since a stream that allocates what it passes
 * on has a process of 1,000,000 rows hold 30 MB more.
 *
 * ```sql
 * copy (select … as line from …) to stdout with (format csv, quote e'\x01', delimiter e'\x02')
 * ```
 */
export class Lines {
  readonly #client: pg.PoolClient
  readonly #query: string
  readonly #digester = new Digester()

  constructor (client: pg.PoolClient, query: string) {
    this.#client = client
    this.#query = query
  }

  /** How many were read so far. */
  get rows (): number {
    return this.#digester.rows
  }

  async *read (): AsyncGenerator<Buffer> {
    const copy = new Copy(
      `copy (${this.#query}) to stdout with (format csv, quote e'\\x01', delimiter e'\\x02')`
    )
    this.#client.query(copy)
    for (let chunk = await copy.next(); chunk !== undefined; chunk = await copy.next()) {
      this.#digester.add(chunk)
      yield chunk
    }
  }

  /** To be asked once, when all were read. */
  digest (): Digest {
    return this.#digester.digest()
  }
}

/** The digest of the lines of a query, which go nowhere else. */
export async function digestLines (client: pg.PoolClient, query: string): Promise<Digest> {
  const lines = new Lines(client, query)
  for await (const _ of lines.read());
  return lines.digest()
}

interface Wire {
  readonly stream: { pause(): void; resume(): void }
}

/** A COPY whose rows are asked for. The socket rests while nobody does. */
class Copy extends pg.Query {
  readonly #full: Buffer[] = []
  readonly #spare: Buffer<ArrayBufferLike>[] = []
  #filling: Buffer<ArrayBufferLike> = Buffer.allocUnsafeSlow(size)
  #filled = 0
  #lent: Buffer | undefined
  #wire: Wire | undefined
  #end: { readonly error?: Error } | undefined
  #wake: () => void = () => {}

  constructor (text: string) {
    super(text, (error: Error | null | undefined) => {
      this.#end = error ? { error } : {}
      // The end may come with the rows at which the socket was told to rest: the next statement's answer is to be heard.
      this.#wire?.stream.resume()
      this.#wake()
    })
  }

  /** The next whole lines; undefined at the end. */
  async next (): Promise<Buffer | undefined> {
    if (this.#lent?.length === size) this.#spare.push(this.#lent)
    this.#lent = undefined
    while (this.#full.length === 0 && this.#end === undefined) {
      this.#wire?.stream.resume()
      await new Promise<void>(resolve => {
        this.#wake = resolve
      })
    }
    if (this.#end?.error !== undefined) throw this.#end.error
    const full = this.#full.shift()
    if (full !== undefined) return this.#lend(full)
    return this.#filled === 0 ? undefined : this.#lend(this.#take())
  }

  /** Called by `pg`, with a view of its own buffer: one row. */
  handleCopyData ({ chunk }: { readonly chunk: Buffer }, wire: Wire): void {
    this.#wire = wire
    if (this.#filled + chunk.length > size && this.#filled > 0) this.#put(this.#take())
    if (chunk.length > size) this.#put(Buffer.from(chunk))
    else this.#filled += chunk.copy(this.#filling, this.#filled)
  }

  #put (chunk: Buffer): void {
    this.#full.push(chunk)
    this.#wire?.stream.pause()
    this.#wake()
  }

  #take (): Buffer {
    const taken = this.#filling.subarray(0, this.#filled)
    this.#filling = this.#spare.pop() ?? Buffer.allocUnsafeSlow(size)
    this.#filled = 0
    return taken
  }

  #lend (chunk: Buffer): Buffer {
    // A buffer of ours comes back whole; a row that was larger goes.
    this.#lent = chunk.length > size ? undefined : Buffer.from(chunk.buffer, chunk.byteOffset, size)
    return chunk
  }
}
