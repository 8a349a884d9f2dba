// The strategies on PostgreSQL, as options of a place.
import { secret } from '../../strategies/strategy-fixture.ts'
import type { PlaceOptions } from './place.ts'

/** Tenants that share tables, under policies. */
export const policies: Readonly<Record<string, PlaceOptions>> = {
  'rls, plain': {},
  'rls, signed': { rls: { secret } },
  'rls with a role per tenant, plain': { rls: { context: 'role' } },
  'rls with a role per tenant, signed': { rls: { context: 'role', secret } },
  'rls and filter': { rls: { secret, filter: true } }
}

/** The rest. */
export const others: Readonly<Record<string, PlaceOptions>> = {
  'row, without policies': { isolation: 'row', withoutPolicies: true },
  schema: { isolation: 'schema' },
  database: { isolation: 'database' }
}
