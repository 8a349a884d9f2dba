import { slugPatternProblem, slugProblem, tenantConflict } from '@fastify-tenancy/core'

import type { ResolvedManagerOptions } from '../context/options.ts'

/** @throws FST_TENANCY_TENANT_CONFLICT for a slug that is reserved, breaks its rule, or is read as another one by a host pattern */
export function assertSlug (
  slug: string,
  { reserved, domains }: Pick<ResolvedManagerOptions, 'reserved' | 'domains'>
): void {
  const problem = slugProblem(slug, reserved) ?? slugPatternProblem(slug, domains.patterns)
  if (problem !== undefined) throw tenantConflict(problem)
}
