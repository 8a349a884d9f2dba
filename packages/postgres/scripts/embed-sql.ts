// Writes sql/NNNNNN_*.sql into src/install/sql.generated.ts, so that the built package reads no
// file at run time.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const folder = new URL('../sql/', import.meta.url)
export const target: URL = new URL('../src/install/sql.generated.ts', import.meta.url)

/** The text of the generated module. */
export function embedSql (): string {
  const files = readdirSync(folder).filter(name => /^\d{6}_[a-z-]+\.sql$/.test(name)).toSorted()
  const entries = files.map(file => {
    const [, version, name] = /^(\d{6})_(.+)\.sql$/.exec(file) ?? []
    const sql = readFileSync(new URL(file, folder), 'utf8').replace(/[\\`]|\$\{/g, '\\$&')
    return `  {\n    version: ${Number(version)},\n    name: '${name}',\n    sql: \`${sql}\`\n  }`
  })
  return `// Made by scripts/embed-sql.ts from sql/*.sql: edit those, then run \`npm run embed-sql\`.

/** The SQL files in order of application. \`:"role"\` stands for a role of this database. */
export const sqlFiles: readonly {
  readonly version: number
  readonly name: string
  readonly sql: string
}[] = [
${entries.join(',\n')}
]
`
}

if (process.argv[1] === fileURLToPath(import.meta.url)) writeFileSync(target, embedSql())
