import { channels, OptionInvalidError } from '@fastify-tenancy/core'
import { bool, checkOptions, nonEmptyString } from '@fastify-tenancy/core/options'
import * as v from 'valibot'

import type { Audit } from '../options/audit.ts'
import { AuditFailedError } from '../options/errors.ts'
import type { SystemKysely } from '../options/types.ts'
import type { RoleHandles } from './role-handles.ts'
import type { SystemScope } from './scope.ts'

/** The reason for work across tenants, its actor, and whether it writes. */
export interface SystemAccessOptions {
  /** The reason, for the audit: `'monthly invoice run'`. */
  readonly reason: string
  /** The person or job that asked for the work, for the audit. */
  readonly actor: string
  /** Whether the work may write. @default false */
  readonly write?: boolean
  /** The name of one of `database.shards`. @default 'default', the shard of `database.url` */
  readonly shard?: string
}

/** The argument of work across tenants. */
export interface SystemWork {
  /**
   * Every tenant's rows in the tenant tables, and the reference and global tables. Closed when the
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

/** The dependencies of {@link accessSystem}. */
interface AccessParts {
  /** The handles by shard; none for a shard without a login for them. */
  readonly shards: ReadonlyMap<string, RoleHandles>
  /** Undefined if the option is not set. */
  readonly audit: Audit | undefined
  /** The caller ends this scope. */
  readonly scope: SystemScope
}

/**
 * Runs work across tenants after the audit has recorded it.
 *
 * @throws FST_TENANCY_OPTION_INVALID if login, audit, reason or actor is missing;
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
      'options.audit is required for asSystem(): give a function that keeps a record of who did what ' +
        'across tenants, and why'
    )
  try {
    await audit(Object.freeze({ type: 'system-access', at: new Date(), reason, actor, write, shard }))
  } catch (error) {
    throw new AuditFailedError(undefined, { cause: error })
  }
  channels.bypass.publish({ reason, actor, write })
  return fn({ db: handles.open(scope, !write) })
}

/** Returns the name of a shard's option, for messages. */
export function systemUrlOf (shard: string): string {
  return shard === 'default' ? 'options.database.systemUrl' : `options.database.shards.${shard}.systemUrl`
}
