import { defineError, type TenancyErrorConstructor } from '@fastify-tenancy/core/errors'

/** 503: the tenant's share or the queue is full, or the server accepts no more connections. */
export const DatabaseBusyError: TenancyErrorConstructor = defineError(
  'FST_TENANCY_DATABASE_BUSY',
  503,
  'The database is busy',
  1
)
/** 500: a row of another tenant was stopped, and its connection destroyed. */
export const IsolationBreachError: TenancyErrorConstructor = defineError(
  'FST_TENANCY_ISOLATION_BREACH',
  500,
  'The request was stopped'
)
/** 500: a query that may leave the tenant was not sent, or its connection was destroyed. */
export const QueryRefusedError: TenancyErrorConstructor = defineError(
  'FST_TENANCY_QUERY_REFUSED',
  500,
  'The query was refused'
)
/** 500: the audit rejected the event of work across tenants, so the work was not started. */
export const AuditFailedError: TenancyErrorConstructor = defineError(
  'FST_TENANCY_AUDIT_FAILED',
  500,
  'The work across tenants was not begun: the audit did not take its event',
  undefined,
  'Internal Server Error'
)
