import { toEnvelope, type Tenancy, type TenantRef } from 'fastify-tenancy'

import type { Queue } from './job.ts'

/**
 * Sends the jobs in the outbox of a tenant. A row goes only after the queue has its job. If the
 * process dies between the two, or two processes send it, the queue drops the second job by its id.
 */
export async function relay (tenancy: Tenancy, queue: Queue, tenant: TenantRef): Promise<void> {
  await tenancy.run(tenant, async ({ db }) => {
    for (
      const { id, report_id: report } of await db.selectFrom('outbox').select(['id', 'report_id']).execute()
    ) {
      await queue.add(id, { tenancy: toEnvelope(), report })
      await db.deleteFrom('outbox').where('id', '=', id).execute()
    }
  })
}

/** Sends what a process that died has left in the outbox of any tenant. */
export async function relayAll (tenancy: Tenancy, queue: Queue): Promise<void> {
  await tenancy.forEach({}, ({ tenant }) => relay(tenancy, queue, { id: tenant.id }))
}
