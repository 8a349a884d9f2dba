import pg from 'pg'

import { serverUrl } from './fresh.ts'

const client = new pg.Client({ connectionString: serverUrl() })
await client.connect()
const { rows: [row] } = await client.query<{ version: number }>(
  "select current_setting('server_version_num')::int / 10000 as version"
)
await client.end()

/** The major version of the PostgreSQL under test, as 18. */
export const serverVersion: number = row?.version ?? 0

/** The clauses of a `grant` of a role. Before PostgreSQL 16 a membership has no options. */
export const grantOptions = serverVersion < 16
  ? { inherit: '', noInherit: '', onlyAdmin: 'with admin option' }
  : {
    inherit: 'with inherit true, set false',
    noInherit: 'with inherit false',
    onlyAdmin: 'with admin true, inherit false, set false'
  }
