import type { SqlClient } from '../client/sql-client.ts'
import { newestVersion, versionOf } from '../install/init.ts'
import type { Check, FindingRow } from './finding.ts'

export const setupChecks: Readonly<Record<string, Check>> = {
  D604: { level: 'warning', meaning: 'the suite cannot work on this database before it is set up' }
}

/** Returns a finding unless schema `tenancy` is as this version of the suite creates it. */
export async function checkSetup (client: SqlClient): Promise<FindingRow | undefined> {
  const { rows: [row] } = await client.query<{ comment: string | null }>(
    `select pg_catalog.obj_description(pg_catalog.to_regnamespace('tenancy')::oid, 'pg_namespace')
      as comment`
  )
  const version = versionOf(row?.comment ?? '')
  if (version !== undefined && version >= newestVersion) return undefined
  const says = version === undefined
    ? 'the database is not initialised'
    : `the database was initialised by an older version (${version} of ${newestVersion})`
  return { id: 'D604', object: 'schema tenancy', fix: '-- tenancy init', says }
}
