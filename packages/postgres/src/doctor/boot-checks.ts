import type { SqlClient } from '../client/sql-client.ts'
import { inCatalog, runChecks, runFamily, toFinding, type Finding, type FindingRow } from './finding.ts'
import { checkInput, type CatalogFacts } from './input.ts'
import { loginChecks } from './login.ts'
import { privilegeChecks } from './privileges.ts'
import { rowChecks } from './row.ts'
import { checkVersion, serverChecks } from './server.ts'
import { tableChecks } from './tables.ts'
import { viewChecks } from './views.ts'

/** The answers of the checks that a boot makes. */
export interface BootChecks {
  readonly findings: readonly Finding[]
  /** The rows of the checks of logins, which `reportLevel` also needs. */
  readonly logins: readonly FindingRow[]
}

/**
 * Runs the cheap checks: those of what the application's login can see in the catalog.
 */
export async function checkBoot (client: SqlClient, facts: CatalogFacts): Promise<BootChecks> {
  const input = checkInput(facts)
  const [version, logins] = await inCatalog(client, async () => {
    const { rows: [row] } = await client.query<{ version: number }>(
      "select current_setting('server_version_num')::int as version"
    )
    return [row?.version ?? 0, await runFamily(client, loginChecks, input)] as const
  })
  const old = checkVersion(version)
  return {
    findings: [
      ...(old === undefined ? [] : [toFinding(old, serverChecks)]),
      ...logins.map(row => toFinding(row, loginChecks.checks)),
      ...await runChecks(client, [tableChecks, privilegeChecks, rowChecks, viewChecks], input)
    ],
    logins
  }
}

/**
 * Returns the warnings that a boot logs. Findings about logins are left out: the level reports
 * them.
 */
export function bootWarnings (findings: readonly Finding[]): string[] {
  return findings
    .filter(({ id, level }) => level !== 'info' && !levelReasons.includes(id))
    .map(finding => `${sentence(finding)}; \`tenancy doctor\` prints the fix`)
}

/** Returns the reason to refuse a boot; undefined if no finding is an error. */
export function bootRefusal (findings: readonly Finding[]): string | undefined {
  const errors = findings.filter(({ level }) => level === 'error').map(sentence)
  if (errors.length === 0) return undefined
  return 'the database lets tenants see or touch each other, and options.database.doctor is ' +
    `'refuse' (\`tenancy doctor\` prints the fixes): ${errors.slice(0, 10).join('; ')}` +
    (errors.length > 10 ? `; and ${errors.length - 10} more` : '')
}

const levelReasons: readonly string[] = ['D301', 'D302', 'D303', 'D304', 'D305', 'D306', 'D307', 'D308',
  'D309']

function sentence ({ id, object, meaning }: Finding): string {
  return `${id} ${object}: ${meaning}`
}
