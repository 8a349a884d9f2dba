import { defineError, type TenancyErrorConstructor } from '@fastify-tenancy/core/errors'

/** 403: the option `authorize` of the console does not name the sender of the request. */
export const ConsoleForbiddenError: TenancyErrorConstructor = defineError(
  'FST_TENANCY_CONSOLE_FORBIDDEN',
  403,
  'This console is for operators'
)
/** 403: a confirmation of the console is missing, forged, expired or used. Nothing was done. */
export const ConfirmationInvalidError: TenancyErrorConstructor = defineError(
  'FST_TENANCY_CONFIRMATION_INVALID',
  403,
  'This confirmation is not valid, and nothing was done: open the confirmation again'
)
