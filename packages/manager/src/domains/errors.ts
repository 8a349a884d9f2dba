import { defineError, type TenancyErrorConstructor } from '@fastify-tenancy/core'

/** 422, for operators: the DNS does not show that a domain is the tenant's. The message says which record is missing. */
export const DomainUnverifiedError: TenancyErrorConstructor = defineError(
  'FST_TENANCY_DOMAIN_UNVERIFIED',
  422,
  'The domain is not proved'
)
