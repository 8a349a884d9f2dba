import type { Readable, Writable } from 'node:stream'

/** Where a command reads and writes: the process, or the streams of a test. */
export interface Streams {
  readonly stdin: Readable & { readonly isTTY?: boolean }
  readonly stdout: Writable
  readonly stderr: Writable & { readonly isTTY?: boolean }
  cwd(): string
}
