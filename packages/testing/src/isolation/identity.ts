import type { Tenant } from '@fastify-tenancy/core'
import { randomBytes } from 'node:crypto'

import type { Application } from './application.ts'
import type { Table } from './catalog.ts'
import { TenantRows, type RowExample } from './rows.ts'
import { Secrets } from './secrets.ts'

/** One of the two tenants of a run. */
export interface Identity {
  readonly role: 'attacker' | 'victim'
  readonly tenant: Tenant
  readonly rows: TenantRows
  /** The tenant's values, by which a leak is recognized. */
  readonly secrets: Secrets
  /** The values of the other tenant. Values that the attacker sends are removed from them. */
  readonly others: Secrets | undefined
  /** Returns a new text with the tenant's mark at each call. */
  readonly text: () => string
}

export function identityOf (
  app: Application,
  role: Identity['role'],
  tenant: Tenant,
  tables: readonly Table[],
  examples: Readonly<Record<string, RowExample>>,
  others?: Secrets
): Identity {
  // Letters and digits only, so that it matches most patterns; short, so that it fits most columns.
  const mark = `k${role[0] ?? ''}${randomBytes(3).toString('hex')}`
  let count = 0
  const text = (): string => `${mark}x${(++count).toString(36).padStart(3, '0')}`
  return {
    role,
    tenant,
    text,
    others,
    secrets: new Secrets(mark, tenant),
    rows: new TenantRows(app, tenant, tables, examples, text)
  }
}

/** Adds the rows of both tenants to their values, without those that both have. */
export async function learn (...both: readonly [Identity, Identity]): Promise<void> {
  for (const { rows } of both) await rows.read()
  for (const [one, other] of [both, [both[1], both[0]] as const]) {
    for (const [table, row] of Object.entries(one.rows.all()))
      for (const each of row) one.secrets.add(table, each)
    // The attacker's rows may contain values that it sent, such as the victim's id as the title of
    // a task.
    const { id, slug, name, domains } = other.tenant
    one.secrets.removeShared([...other.rows.values(), id, slug, name, ...domains])
  }
}
