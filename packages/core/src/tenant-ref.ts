import * as v from 'valibot'

import { checkOptions } from './options.ts'
import type { TenantRef } from './tenant.ts'

// A whole tenant is a name of itself.
const schema = v.union([
  v.pipe(v.looseObject({ id: v.string() }), v.transform(({ id }): TenantRef => ({ id }))),
  v.pipe(v.looseObject({ slug: v.string() }), v.transform(({ slug }): TenantRef => ({ slug })))
], 'must be { id } or { slug }')

/**
 * Checks how a caller names a tenant: from JavaScript anything could come, and would be nobody.
 *
 * @param name how the caller knows it, for the message.
 * @throws FST_TENANCY_OPTION_INVALID
 */
export function resolveTenantRef (input: unknown, name = 'the tenant'): TenantRef {
  return checkOptions(schema, input, name)
}
