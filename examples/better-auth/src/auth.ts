import { reservedSlugs, slugProblem } from '@fastify-tenancy/core'
import { betterAuth } from 'better-auth'
import { APIError } from 'better-auth/api'
import { getMigrations } from 'better-auth/db/migration'
import { bearer, organization } from 'better-auth/plugins'
import type { openPool } from 'fastify-tenancy'

export type Auth = ReturnType<typeof authOf>
type Pool = ReturnType<typeof openPool>

/**
 * better-auth with organizations.
 *
 * @param onChange told of each organization that was made or changed
 */
export function authOf (pool: Pool, secret: string, onChange: (id: string) => Promise<void>) {
  return betterAuth({
    secret,
    baseURL: 'http://localhost:3000',
    // A page of acme may call this host's API. Its cookie is sent to this host only.
    trustedOrigins: ['http://*.localhost:3000'],
    database: pool,
    emailAndPassword: { enabled: true },
    rateLimit: { enabled: false },
    plugins: [
      bearer(),
      organization({
        // An organization with rows is not to vanish: suspend it, and remove its rows first.
        disableOrganizationDeletion: true,
        organizationHooks: {
          beforeCreateOrganization: async ({ organization: { slug } }) => checkSlug(slug),
          beforeUpdateOrganization: async ({ organization: { slug } }) => checkSlug(slug),
          afterCreateOrganization: ({ organization: { id } }) => onChange(id),
          afterUpdateOrganization: async ({ organization }) => {
            if (organization !== null) await onChange(organization.id)
          }
        }
      })
    ]
  })
}

/** Creates the tables of better-auth. On a server, its command `migrate` does this. */
export async function migrateAuth (auth: Auth): Promise<void> {
  await (await getMigrations(auth.options)).runMigrations()
}

/** A slug is a subdomain here, so it follows the rules of the suite. */
function checkSlug (slug: string | undefined): void {
  const problem = slug === undefined ? undefined : slugProblem(slug, reservedSlugs)
  if (problem !== undefined) throw new APIError('BAD_REQUEST', { message: problem })
}
