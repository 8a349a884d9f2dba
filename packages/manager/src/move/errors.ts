import { defineError, type TenancyErrorConstructor } from '@fastify-tenancy/core/errors'

/**
 * 409, for operators: a tenant cannot be moved, or the move needed more than its pause. The tenant
 * is served from its source, and the copy was removed.
 */
export const MoveFailedError: TenancyErrorConstructor = defineError(
  'FST_TENANCY_MOVE_FAILED',
  409,
  'The tenant was not moved'
)

/**
 * Why changes cannot be applied row by row. Internal: the caller catches it and copies all rows
 * again.
 */
export class NeedsFullCopyError extends Error {}
