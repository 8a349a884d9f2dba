import { createManager, type Manager } from '@fastify-tenancy/manager'
import { openPool } from 'fastify-tenancy'
import { createHmac } from 'node:crypto'
import { fileURLToPath } from 'node:url'

export type Options = ReturnType<typeof optionsOf>

/** The tenants of this example, one for each strategy. */
export const strategies = { acme: 'rls', globex: 'row', initech: 'schema', umbrella: 'database' } as const

const migrations = fileURLToPath(new URL('../migrations', import.meta.url))

/** Options of the suite and of the manager. `close` ends all pools. */
export function optionsOf (databaseUrl: string, secret: string) {
  // One pool for everything: an embedded database has a single connection.
  const pool = openPool(databaseUrl)
  const own = databaseUrl.startsWith('pglite:') ? embedded() : onServer(databaseUrl, secret)
  return {
    options: {
      database: { url: pool, ...own.database },
      rls: { secret },
      tables: { tenant: ['projects'] }
    },
    async close () {
      await own.close()
      await pool.end()
    }
  }
}

/** Databases of tenants on the same server, each with a login of its own. */
function onServer (databaseUrl: string, secret: string) {
  const url = ({ id }: { readonly id: string }): string => {
    const username = `tenant_${id}`
    const password = createHmac('sha256', secret).update(`password of ${id}`).digest('hex')
    return Object.assign(new URL(databaseUrl), { username, password, pathname: `/${username}` }).href
  }
  return { database: { ownerUrl: databaseUrl, tenants: { url } }, close: async () => {} }
}

/** Databases of tenants inside this process, one PGlite each. */
function embedded () {
  const pools = new Map<string, ReturnType<typeof openPool>>()
  const url = ({ id }: { readonly id: string }): ReturnType<typeof openPool> => {
    const pool = pools.get(id) ?? openPool('pglite://memory')
    pools.set(id, pool)
    return pool
  }
  const close = async (): Promise<void> => {
    await Promise.all(Array.from(pools.values(), pool => pool.end()))
  }
  return { database: { tenants: { url } }, close }
}

/** Sets the database up, with a tenant of each strategy. On a server a deployment does this. */
export async function setUp ({ options }: Options): Promise<Manager> {
  const manager = createManager({
    ...options,
    migrations: { shared: `${migrations}/shared`, tenant: `${migrations}/tenant` }
  })
  await manager.init({ tenantRoles: true })
  await manager.migrate()
  for (const [slug, isolation] of Object.entries(strategies))
    if (await manager.get({ slug }) === undefined) await manager.create({ slug, isolation })
  return manager
}
