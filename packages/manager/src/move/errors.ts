import { defineError, type TenancyErrorConstructor } from '@fastify-tenancy/core'

/** 409, for operators: a tenant cannot be moved, or its move took longer than it may pause for. It is served from where it was; the copy is gone. */
export const MoveFailedError: TenancyErrorConstructor = defineError(
  'FST_TENANCY_MOVE_FAILED',
  409,
  'The tenant was not moved'
)

/** Why changes cannot be brought over one by one. Nobody else's business: all rows are copied again then. */
export class NeedsFullCopyError extends Error {}
