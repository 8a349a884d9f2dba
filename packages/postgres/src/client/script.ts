import { quoteText, type SqlClient } from './sql-client.ts'

/** A part of a script: SQL, or a note to the person who runs it. */
export type ScriptPart = { readonly sql: string } | { readonly note: string }

/**
 * A connection that changes nothing. It passes queries on to the database and records all other
 * statements, for the database's administrator to run. So the code that prints the statements is
 * the code that runs them.
 *
 * Writes are recorded, not executed. Code that runs on a Script must therefore not read back its
 * own writes.
 */
export class Script implements SqlClient {
  readonly #live: SqlClient
  readonly #parts: ScriptPart[] = []

  constructor (live: SqlClient) {
    this.#live = live
  }

  /** The recorded statements and notes, in order. */
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

  /** Records a note that is no SQL for the person who runs the script. */
  note (text: string): void {
    this.#parts.push({ note: text })
  }
}

/**
 * Whether the caller must not send a secret, because the script would print it. Records `note`
 * instead.
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
