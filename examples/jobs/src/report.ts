import { fromEnvelope, type Tenancy } from 'fastify-tenancy'

import type { Job } from './job.ts'

/**
 * Does a job for the tenant that its envelope names. The tenant may have changed since: `run` looks
 * it up again. Idempotent, because a queue may deliver a job twice.
 */
export async function makeReport (tenancy: Tenancy, { tenancy: envelope, report }: Job): Promise<void> {
  try {
    await tenancy.run(fromEnvelope(envelope), async ({ db }) => {
      await db.updateTable('reports')
        .set(eb => ({ total: eb.selectFrom('orders').select(eb => eb.fn.sum<string>('amount').as('total')) }))
        .where('id', '=', report).execute()
    })
  } catch (error) {
    // The tenant was deleted: there is nothing left to do. Suspended, moved or overloaded: the
    // queue tries it again.
    if ((error as { code?: string }).code !== 'FST_TENANCY_TENANT_UNKNOWN') throw error
  }
}
