import { slugProblem } from '@fastify-tenancy/core'
import { tenantConflict } from '@fastify-tenancy/core/errors'
import { slugPatternProblem } from '@fastify-tenancy/core/names'

import type { ResolvedManagerOptions } from '../context/options.ts'

/**
 * Refuses a slug that is reserved or malformed, or that a host pattern would read as another slug.
 *
 * @throws FST_TENANCY_TENANT_CONFLICT
 */
export function assertSlug (
  slug: string,
  { reserved, domains }: Pick<ResolvedManagerOptions, 'reserved' | 'domains'>
): void {
  const problem = slugProblem(slug, reserved) ?? slugPatternProblem(slug, domains.patterns)
  if (problem !== undefined) throw tenantConflict(problem)
}
