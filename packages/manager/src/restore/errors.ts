import { defineError, type TenancyErrorConstructor } from '@fastify-tenancy/core/errors'

/** 409, for operators: a tenant cannot be restored from this source. Its rows are unchanged. */
export const RestoreRefusedError: TenancyErrorConstructor = defineError(
  'FST_TENANCY_RESTORE_REFUSED',
  409,
  'The tenant was not restored'
)
