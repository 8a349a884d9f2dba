import type pg from 'pg'

import { databaseOf } from './sql.ts'

/**
 * Lets only these users connect to a database. Otherwise a login of another test that may read every
 * table of the server counts as legacy code in an adoption.
 */
export async function keepOthersOut (admin: pg.Client, url: string, ...users: string[]): Promise<void> {
  const database = databaseOf(url)
  await admin.query(`revoke connect on database "${database}" from public`)
  for (const user of users) await admin.query(`grant connect on database "${database}" to "${user}"`)
}
