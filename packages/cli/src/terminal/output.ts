import { printable } from '@fastify-tenancy/core/names'
import Table from 'cli-table3'

import { masker } from './mask.ts'
import { showProgress, type ProgressView } from './progress.ts'
import type { Streams } from './streams.ts'

/**
 * Prints the result of a command on stdout, as text or as one JSON document, and everything else on
 * stderr. Masks secrets in both.
 */
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
   * Prints the result, once, after all log lines. `text` formats it for people.
   * Escapes characters that act on a terminal, except in a script, which must stay unchanged.
   */
  result (value: unknown, text: () => string, { script = false }: { readonly script?: boolean } = {}): void {
    this.#progress?.stop()
    const shown = this.json ? JSON.stringify(value, null, 2) : text()
    if (shown !== '')
      this.#streams.stdout.write(
        `${this.#mask(script && !this.json ? shown : printable(shown, { breaks: true }))}\n`
      )
  }

  /** Prints a line on stderr. */
  log (line: string): void {
    const shown = this.#mask(printable(line))
    if (this.#progress === undefined) this.#streams.stderr.write(`${shown}\n`)
    else this.#progress.log(shown)
  }

  /** Starts the progress view. It prints log lines above its bars, and the result below them. */
  startProgress (): ProgressView {
    this.#progress = showProgress(this.#streams.stderr, line => {
      this.#streams.stderr.write(`${this.#mask(printable(line))}\n`)
    })
    return this.#progress
  }
}

/** Formats a table for people; the word `none` without rows. */
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

/** Formats each name and value on a line of its own. */
export function fields (values: Readonly<Record<string, string | number>>): string {
  const width = Math.max(...Object.keys(values).map(name => name.length))
  return Object.entries(values).map(([name, value]) => `${name.padEnd(width)}  ${printable(String(value))}`)
    .join('\n')
}
