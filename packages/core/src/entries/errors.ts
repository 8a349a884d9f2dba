export { defineError, InternalError, InternalTypeError, rateLimited, tenantConflict, toPublicError,
  type TenancyErrorConstructor } from '../errors.ts'
