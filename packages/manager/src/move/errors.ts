import { defineError, type TenancyErrorConstructor } from '@fastify-tenancy/core'

/** 409, for operators: a tenant cannot be moved, or its move took longer than it may pause for. It is served from where it was; the copy is gone. */
export const MoveFailedError: TenancyErrorConstructor = defineError('FST_TENANCY_MOVE_FAILED', 409, 'The tenant was not moved')
