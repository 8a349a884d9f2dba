import { createManager, type Manager, type ManagerOptions } from '@fastify-tenancy/manager'
import { openPool } from 'fastify-tenancy'
import { fileURLToPath } from 'node:url'

/** Settings from the environment. */
export interface Settings {
  readonly databaseUrl: string
  readonly baseDomain: string
  /** Signs tenant contexts and log-in tokens. Every process needs the same secret. */
  readonly secret: string
  readonly limits?: string | false
  readonly logger?: boolean
  /** Where domains are looked up. @default the system's DNS */
  readonly dns?: ManagerOptions['dns']
}

/** What the application and the manager are both given. */
export type Shared = ReturnType<typeof sharedOptions>

export function sharedOptions ({ databaseUrl, baseDomain, secret }: Settings) {
  return {
    baseDomain,
    // One pool for both: an embedded database has a single connection.
    database: openPool(databaseUrl),
    rls: { secret },
    tables: { tenant: ['projects'], global: ['users', 'memberships', 'invitations'] }
  }
}

/**
 * Sets the database up. On a server a deployment does this: `tenancy init`, `tenancy migrate`.
 * Returns the manager that sign-up, plans and domains use.
 */
export async function setUp (shared: Shared, { dns }: Settings): Promise<Manager> {
  const manager = createManager({
    ...shared,
    migrations: { shared: fileURLToPath(new URL('../migrations', import.meta.url)) },
    ...(dns !== undefined && { dns })
  })
  await manager.init()
  await manager.migrate()
  return manager
}
