import type { TenantEnvelope } from 'fastify-tenancy'

/** The payload of a job: the envelope names the tenant, by its id alone. */
export interface Job {
  readonly tenancy: TenantEnvelope
  readonly report: string
}

export interface Queue {
  /** Adds a job. A second one with the same id is dropped, so the relay may send it again. */
  add(id: string, job: Job): Promise<void>
  /** Calls the function for each job. A job whose call rejects is tried again later. */
  work(fn: (job: Job) => Promise<void>): Promise<void>
  close(): Promise<void>
}
