import { defineError, type TenancyErrorConstructor } from '@fastify-tenancy/core/errors'

/**
 * 422, for operators: the DNS does not prove that the tenant owns the domain. The message has the
 * missing record.
 */
export const DomainUnverifiedError: TenancyErrorConstructor = defineError(
  'FST_TENANCY_DOMAIN_UNVERIFIED',
  422,
  'The domain is not proved'
)
