import { bool, checkOptions, nonEmptyString, OptionInvalidError } from '@fastify-tenancy/core'
import * as v from 'valibot'

import { AuditFailedError } from '../errors.ts'
import type { SystemKysely } from '../types.ts'
import type { RoleHandles } from './role-handles.ts'
import { SystemScope } from './scope.ts'

/** Why work across tenants is done, who does it, and whether it writes. */
export interface SystemAccessOptions {
  /** For the audit: `'monthly invoice run'`. */
  readonly reason: string
  /** For the audit: who asked for it, a person or a job. */
  readonly actor: string
  /** Lets it write. @default false */
  readonly write?: boolean
}

/** What the audit is told of work across tenants, before its first statement. */
export interface AuditEvent {
  readonly type: 'system-access'
  readonly at: Date
  readonly reason: string
  readonly actor: string
  readonly write: boolean
}

/** Keeps an event. What it throws, or rejects with, refuses the work. */
export type Audit = (event: AuditEvent) => void | Promise<void>

/** What work across tenants gets. */
export interface SystemWork {
  /** Every tenant's rows, the shared and the global tables. Closed when the work has ended. */
  readonly db: SystemKysely
}

const schema = v.strictObject({
  reason: nonEmptyString,
  actor: nonEmptyString,
  write: v.optional(bool, false)
}, 'must be an object')

/**
 * Does work across tenants, once the audit knows of it.
 *
 * @param handles undefined where there is no login for it.
 * @param audit undefined where nobody listens.
 * @throws FST_TENANCY_OPTION_INVALID where either is missing, or reason or actor; FST_TENANCY_AUDIT_FAILED
 */
export async function accessSystem<T> (handles: RoleHandles | undefined, audit: Audit | undefined, given: SystemAccessOptions, fn: (work: SystemWork) => T | Promise<T>): Promise<T> {
  const { reason, actor, write } = checkOptions(schema, given, 'the options of asSystem()')
  if (handles === undefined) throw new OptionInvalidError('options.database.systemUrl is required for asSystem(): give the URL of a login of its own, and run `tenancy init` with it')
  if (audit === undefined) throw new OptionInvalidError('options.audit is required for asSystem(): give a function that keeps a record of who did what across tenants, and why')
  try {
    await audit(Object.freeze({ type: 'system-access', at: new Date(), reason, actor, write }))
  } catch (error) {
    throw new AuditFailedError(undefined, { cause: error })
  }
  const scope = new SystemScope()
  try {
    return await fn({ db: handles.open(scope, !write) })
  } finally {
    scope.end()
  }
}
