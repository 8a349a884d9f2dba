import { inTransaction, type SqlClient } from '../client/sql-client.ts'

/** Removes a tenant that was never served, with its names. Unused names need no quarantine. */
export async function forgetTenant (client: SqlClient, id: string): Promise<void> {
  await inTransaction(client, async () => {
    const { rowCount } = await client.query(
      "delete from tenancy.tenants where id = $1 and status = 'provisioning'",
      [id]
    )
    if (rowCount === 1) await client.query('delete from tenancy.names where tenant_id = $1', [id])
  })
}
