import { quoteText, type SqlClient } from './sql-client.ts'

/** A part of a script: SQL, or a note to whoever runs it. */
export type ScriptPart = { readonly sql: string } | { readonly note: string }

/**
 * A connection that looks at the database and changes nothing: what reads it passes on, and all the rest it writes down,
 * for somebody else to run. So the code that prints what would run is the code that runs it.
 *
 * Since nothing happens, whoever works on it must not read what it has just written.
 */
export class Script implements SqlClient {
  readonly #live: SqlClient
  readonly #parts: ScriptPart[] = []

  constructor (live: SqlClient) {
    this.#live = live
  }

  /** What would have run, in order. */
  get parts (): readonly ScriptPart[] {
    return this.#parts
  }

  async query<R> (text: string, values?: unknown[]): Promise<{ rows: R[]; rowCount: number | null }> {
    if (/^(?:\s|--.*\n)*(?:select|with|show)\b/i.test(text)) return this.#live.query<R>(text, values)
    const sql = values === undefined
      ? text
      : text.replaceAll(/\$(\d+)/g, (_, number: string) => literal(values[Number(number) - 1]))
    this.#parts.push({ sql })
    return { rows: [], rowCount: null }
  }

  /** Tells whoever runs the script something that is no SQL. */
  note (text: string): void {
    this.#parts.push({ note: text })
  }
}

/**
 * Whether a secret must be kept out of what is about to be sent, because it would be printed. The script then says
 * `note` in its place.
 */
export function withholds (client: SqlClient, note: string): boolean {
  if (!(client instanceof Script)) return false
  client.note(note)
  return true
}

function literal (value: unknown): string {
  if (typeof value === 'string') return quoteText(value)
  if (typeof value === 'number') return String(value)
  if (Array.isArray(value)) return `array[${value.map(literal).join(', ')}]::text[]`
  throw new TypeError(`a script cannot hold ${typeof value}`)
}
