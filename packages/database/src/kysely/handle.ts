import { InternalError } from '@fastify-tenancy/core/errors'
import { Kysely } from 'kysely'

/** A tenant's Kysely. Its scope ends it, so `destroy()` throws. */
export class TenantHandle<Database> extends Kysely<Database> {
  override async destroy (): Promise<void> {
    throw new InternalError(
      'request.db belongs to its request and cannot be destroyed: close the app, which ends the pools'
    )
  }
}
