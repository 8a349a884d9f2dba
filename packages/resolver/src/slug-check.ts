import { OptionInvalidError, type TenantRegistry } from '@fastify-tenancy/core'
import { slugPatternProblem, type HostPatterns } from '@fastify-tenancy/core/names'

/**
 * Refuses host patterns that would read one tenant's host as another tenant's. A pattern with
 * `{tenant}` alone in its label never does, so only other patterns make the boot read the list of
 * tenants.
 *
 * @returns the text of a warning, if the registry cannot list its tenants
 * @throws FST_TENANCY_OPTION_INVALID that names the tenant and the pattern
 */
export async function checkSlugs (
  registry: TenantRegistry,
  patterns: HostPatterns,
  name = 'options'
): Promise<string | undefined> {
  if (patterns.isPlain) return undefined
  try {
    for await (const { id, slug, status } of registry.list()) {
      const problem = status === 'deleted' ? undefined : slugPatternProblem(slug, patterns)
      if (problem !== undefined)
        throw new OptionInvalidError(
          `${name}.hosts does not fit the tenant with the id '${id}': ${problem}; run \`tenancy ` +
            `rename\`, or change the pattern`
        )
    }
    return undefined
  } catch (error) {
    if (error instanceof OptionInvalidError) throw error
    return `the slugs of the tenants could not be read, so the host patterns were not checked: ${
      error instanceof Error ? error.message : String(error)
    }`
  }
}
