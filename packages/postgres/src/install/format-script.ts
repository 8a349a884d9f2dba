import type { ScriptPart } from '../client/script.ts'
import { quoteName, quoteText } from '../client/sql-client.ts'
import { rolesOf, type Roles } from '../roles/roles.ts'

const rolesImport = "import { rolesOf } from '@fastify-tenancy/postgres/roles'"

/** Output format of a script: SQL, or a migration file for Kysely. */
export type ScriptFormat = 'sql' | 'kysely'

export interface ScriptInput {
  /** The command that printed the script, for its first line: `tenancy init`. */
  readonly title: string
  /** The database that the script was made for. */
  readonly database: string
  readonly parts: readonly ScriptPart[]
  readonly format: ScriptFormat
}

/**
 * Formats statements for another tool to run. Names of roles carry a hash of the database's name.
 * So the SQL script refuses any other database, and the Kysely migration computes the names when
 * it runs.
 *
 * A script without `begin` has statements that refuse a transaction (`create index concurrently`),
 * and says so.
 */
export function formatScript ({ title, database, parts, format }: ScriptInput): string {
  const tidy = parts.map(part => 'sql' in part ? { sql: dedent(part.sql) } : part)
  return format === 'sql' ? formatSql(title, database, tidy) : formatKysely(title, database, tidy)
}

function formatSql (title: string, database: string, parts: readonly ScriptPart[]): string {
  const guard = `do $$ begin if current_database() <> ${
    quoteText(database)
  } then raise exception 'this script was made for another database'; end if; end $$`
  return [
    `-- ${title}: made for the database ${JSON.stringify(database)}, whose roles carry a hash of its name.`,
    ...(isTransactional(parts) ? [] : ['-- Not in a transaction: some of these statements refuse one.']),
    `${guard};`,
    ...parts.map(part => 'sql' in part ? `${part.sql};` : `-- ${part.note}`)
  ].join('\n') + '\n'
}

function formatKysely (title: string, database: string, parts: readonly ScriptPart[]): string {
  const roles = rolesOf(database)
  const transactional = isTransactional(parts)
  const body = parts.flatMap(part => {
    if ('note' in part) return `  // ${part.note}`
    return part.sql === 'begin' || part.sql === 'commit'
      ? []
      : `  await sql\`${template(part.sql, database, roles)}\`.execute(db)`
  })
  return `// ${title}: what it would have run. ${
    transactional
      ? 'Run it in a transaction, as Migrator does by default.'
      : 'Not in a transaction: give Migrator disableTransactions.'
  }
${rolesImport}
import { sql, type Kysely } from 'kysely'

export async function up (db: Kysely<unknown>): Promise<void> {
  if (db.isTransaction !== ${transactional}) throw new Error('run this migration ${
    transactional
      ? 'in a transaction'
      : 'with disableTransactions: some of its statements refuse a transaction'
  }')
  const { rows: [row] } = await sql<{ name: string }>\`select current_database() as name\`.execute(db)
  const database = row?.name ?? ''
  const roles = rolesOf(database)
${body.join('\n')}
}
`
}

function isTransactional (parts: readonly ScriptPart[]): boolean {
  return parts.length === 0 || parts.some(part => 'sql' in part && part.sql === 'begin')
}

// Returns the body of a template literal for `text`, in which this database's names are computed.
function template (text: string, database: string, roles: Roles): string {
  let escaped = text.replaceAll(/[\\`]|\$\{/g, '\\$&')
  for (const [role, name] of Object.entries(roles))
    escaped = escaped.replaceAll(quoteName(name), `\${sql.id(roles.${role})}`)
  return escaped.replaceAll(
    /\bon database ("(?:[^"]|"")*")/g,
    (whole, name: string) => name === quoteName(database) ? 'on database ${sql.id(database)}' : whole
  )
}

// The statements are indented in our own sources.
function dedent (text: string): string {
  const lines = text.replace(/^\s*\n/, '').replace(/[\s;]+$/, '').split('\n')
  const margin = Math.min(
    ...lines.filter(line => line.trim() !== '').map(line => line.length - line.trimStart().length)
  )
  return lines.map(line => line.slice(margin)).join('\n')
}
