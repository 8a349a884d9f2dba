import { quoteName, type SqlClient } from '@fastify-tenancy/postgres/client'
import { inspectTable, parentKeys, type ResolvedTables } from '@fastify-tenancy/postgres/tables'

import { assertion } from './steps.ts'

/**
 * A statement for each foreign key between two of these tables, which fails when a row names a row of another tenant: under
 * policies neither tenant would see the two together.
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
        `rows of ${table} name rows of ${name} that are another tenant's: mend them (${columns.join(', ')})`
      ))
    }
  }
  return statements
}
