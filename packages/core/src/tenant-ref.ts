import * as v from 'valibot'

import { checkOptions } from './options.ts'
import type { TenantRef } from './tenant.ts'

// A whole tenant is accepted too, as its own reference.
const schema = v.union([
  v.pipe(v.looseObject({ id: v.string() }), v.transform(({ id }): TenantRef => ({ id }))),
  v.pipe(v.looseObject({ slug: v.string() }), v.transform(({ slug }): TenantRef => ({ slug })))
], 'must be { id } or { slug }')

/**
 * Checks a reference to a tenant. From JavaScript any value could come, and would silently match no
 * tenant.
 *
 * @param name the caller's name of the value, for the message.
 * @throws FST_TENANCY_OPTION_INVALID
 */
export function resolveTenantRef (input: unknown, name = 'the tenant'): TenantRef {
  return checkOptions(schema, input, name)
}
