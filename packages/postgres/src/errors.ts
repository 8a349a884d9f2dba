import { defineError, type TenancyErrorConstructor } from '@fastify-tenancy/core/errors'

/** 500, for operators: a database is not set up as needed; the message names the fix. */
export const SetupInvalidError: TenancyErrorConstructor = defineError(
  'FST_TENANCY_SETUP_INVALID',
  500,
  'The database is not set up: run `tenancy init`',
  undefined,
  'Internal Server Error'
)

/** 503: the connection was refused, lost, or timed out. */
export const DatabaseUnavailableError: TenancyErrorConstructor = defineError(
  'FST_TENANCY_DATABASE_UNAVAILABLE',
  503,
  'The database cannot be reached at the moment',
  1
)
