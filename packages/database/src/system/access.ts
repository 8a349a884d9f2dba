import { bool, checkOptions, nonEmptyString, OptionInvalidError } from '@fastify-tenancy/core'
import * as v from 'valibot'

import type { Audit } from '../options/audit.ts'
import { AuditFailedError } from '../options/errors.ts'
import type { SystemKysely } from '../options/types.ts'
import type { RoleHandles } from './role-handles.ts'
import type { SystemScope } from './scope.ts'

/** Why work across tenants is done, who does it, and whether it writes. */
export interface SystemAccessOptions {
  /** For the audit: `'monthly invoice run'`. */
  readonly reason: string
  /** For the audit: who asked for it, a person or a job. */
  readonly actor: string
  /** Lets it write. @default false */
  readonly write?: boolean
  /** Which of `database.shards`. @default 'default', the one of `database.url` */
  readonly shard?: string
}

/** What work across tenants gets. */
export interface SystemWork {
  /**
   * Every tenant's rows in the tables of all, the shared and the global tables. Closed when the
   * work has ended.
   */
  readonly db: SystemKysely
}

const schema = v.strictObject({
  reason: nonEmptyString,
  actor: nonEmptyString,
  write: v.optional(bool, false),
  shard: v.optional(nonEmptyString, 'default')
}, 'must be an object')

/** What work across tenants needs. */
export interface AccessParts {
  /** The handles by shard; none where there is no login for them. */
  readonly shards: ReadonlyMap<string, RoleHandles>
  /** Undefined where nobody listens. */
  readonly audit: Audit | undefined
  /** Ended by the caller. */
  readonly scope: SystemScope
}

/**
 * Does work across tenants, once the audit knows of it.
 *
 * @throws FST_TENANCY_OPTION_INVALID where login or audit is missing, or reason or actor;
 * FST_TENANCY_AUDIT_FAILED
 */
export async function accessSystem<T> (
  { shards, audit, scope }: AccessParts,
  input: SystemAccessOptions,
  fn: (work: SystemWork) => T | Promise<T>
): Promise<T> {
  const { reason, actor, write, shard } = checkOptions(schema, input, 'the options of asSystem()')
  const handles = shards.get(shard)
  if (handles === undefined)
    throw new OptionInvalidError(
      `${
        systemUrlOf(shard)
      } is required for asSystem(): give the URL of a login of its own, and run \`tenancy init\` with it`
    )
  if (audit === undefined)
    throw new OptionInvalidError(
      'options.audit is required for asSystem(): give a function that keeps a record of who did what across tenants, and why'
    )
  try {
    await audit(Object.freeze({ type: 'system-access', at: new Date(), reason, actor, write, shard }))
  } catch (error) {
    throw new AuditFailedError(undefined, { cause: error })
  }
  return fn({ db: handles.open(scope, !write) })
}

/** How the caller knows a shard's option. */
export function systemUrlOf (shard: string): string {
  return shard === 'default' ? 'options.database.systemUrl' : `options.database.shards.${shard}.systemUrl`
}
