// Runs a printed script as psql would: one statement at a time.
import pg from 'pg'

/** Returns the statements of a script. A dollar-quoted statement stays whole. */
export function splitScript (text: string): string[] {
  const statements: string[] = []
  let statement = ''
  for (const line of text.split('\n')) {
    statement += `${line}\n`
    const isQuoted = (statement.match(/\$(?:tenancy|do)?\$/g) ?? []).length % 2 === 1
    if (line.endsWith(';') && !isQuoted) {
      statements.push(statement)
      statement = ''
    }
  }
  return statements
}

/** Runs each statement of a script on a connection of its own, as that URL's login. */
export async function runScript (url: string, text: string): Promise<void> {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  try {
    for (const statement of splitScript(text)) await client.query(statement)
  } finally {
    await client.end()
  }
}
