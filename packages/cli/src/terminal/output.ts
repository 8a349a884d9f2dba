import { printable } from '@fastify-tenancy/core'
import Table from 'cli-table3'

import { masker } from './mask.ts'
import { showProgress, type ProgressView } from './progress.ts'
import type { Streams } from './streams.ts'

/** What a command prints: its result on stdout, as text for people or one JSON document; all else on stderr. Secrets are masked in both. */
export class Output {
  readonly json: boolean
  readonly #streams: Streams
  readonly #mask: (text: string) => string
  #progress: ProgressView | undefined

  constructor (
    streams: Streams,
    { json, secrets = [] }: { readonly json: boolean; readonly secrets?: readonly string[] }
  ) {
    this.json = json
    this.#streams = streams
    this.#mask = masker(secrets)
  }

  /**
   * The result of the command: called once, when nothing more is logged. `text` makes what a person reads.
   * Characters that act on a terminal are escaped, but in a script, which must stay what it is.
   */
  result (value: unknown, text: () => string, { script = false }: { readonly script?: boolean } = {}): void {
    this.#progress?.stop()
    const shown = this.json ? JSON.stringify(value, null, 2) : text()
    if (shown !== '')
      this.#streams.stdout.write(
        `${this.#mask(script && !this.json ? shown : printable(shown, { breaks: true }))}\n`
      )
  }

  /** A line for the person who waits. */
  log (line: string): void {
    const shown = this.#mask(printable(line))
    if (this.#progress === undefined) this.#streams.stderr.write(`${shown}\n`)
    else this.#progress.log(shown)
  }

  /** Shows progress from now on. Lines are printed above its bars, and the result below them. */
  startProgress (): ProgressView {
    this.#progress = showProgress(this.#streams.stderr, line => {
      this.#streams.stderr.write(`${this.#mask(printable(line))}\n`)
    })
    return this.#progress
  }
}

/** A table for people; the word `none` where it has no rows. */
export function textTable (head: readonly string[], rows: readonly (readonly (string | number)[])[]): string {
  if (rows.length === 0) return 'none'
  const shown = new Table({
    head: [...head],
    style: { head: [], border: [], compact: true, 'padding-left': 0, 'padding-right': 2 },
    chars: Object.fromEntries(
      ['top', 'top-mid', 'top-left', 'top-right', 'bottom', 'bottom-mid', 'bottom-left', 'bottom-right',
        'left', 'left-mid', 'mid', 'mid-mid', 'right', 'right-mid', 'middle'].map(part => [part, ''])
    )
  })
  for (const row of rows) shown.push(row.map(cell => typeof cell === 'string' ? printable(cell) : cell))
  return shown.toString().replace(/ +$/gm, '')
}

/** Name and value, a line each. */
export function fields (values: Readonly<Record<string, string | number>>): string {
  const width = Math.max(...Object.keys(values).map(name => name.length))
  return Object.entries(values).map(([name, value]) => `${name.padEnd(width)}  ${printable(String(value))}`)
    .join('\n')
}
