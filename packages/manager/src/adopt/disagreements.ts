import { quoteName, type SqlClient } from '@fastify-tenancy/postgres/client'
import { inspectTable, parentKeys, type ResolvedTables } from '@fastify-tenancy/postgres/tables'

import { assertion } from './steps.ts'

/**
 * Returns a statement for each foreign key between two of these tables. It fails if a row refers to
 * a row of another tenant, because neither tenant would see both rows under policies.
 */
export async function disagreements (
  client: SqlClient,
  { schema, tenant }: ResolvedTables,
  tables: readonly string[]
): Promise<string[]> {
  const statements: string[] = []
  for (const table of tables) {
    const facts = await inspectTable(client, schema, table)
    for (const { parent, columns, parentColumns } of await parentKeys(client, facts, schema, tables)) {
      const name = tables.find(other => parent === `${quoteName(schema)}.${quoteName(other)}`) ?? ''
      const pairs = columns.map((column, index) =>
        `parent.${quoteName(parentColumns[index] ?? '')} = child.${quoteName(column)}`
      )
      statements.push(assertion(
        `select from ${facts.name} child join ${parent} parent on ${pairs.join(' and ')} where child.${
          quoteName(tenant[table] ?? '')
        } is distinct from parent.${quoteName(tenant[name] ?? '')}`,
        `rows of ${table} refer to rows of ${name} of another tenant: correct ${columns.join(', ')}`
      ))
    }
  }
  return statements
}
