import Fastify, { type FastifyInstance } from 'fastify'
import tenancy, { openPool } from 'fastify-tenancy'

import { ownDatabases } from './own-databases.ts'
import { routes } from './routes.ts'
import { setUp } from './set-up.ts'

/** Settings from the environment. */
export interface Settings {
  baseDomain: string
  databaseUrl: string
  redisUrl?: string | undefined
  limitsFile: string
  isolation: 'rls' | 'row' | 'schema' | 'database'
  /** Signs the tenant context. Every process on one database needs the same secret. */
  secret?: string | undefined
  logger?: boolean
}

/** Returns the whole application: database set up and seeded, suite registered, routes added. */
export async function buildApp (
  { baseDomain, databaseUrl, redisUrl, limitsFile, isolation, secret, logger = true }: Settings
): Promise<FastifyInstance> {
  if (secret === undefined && process.env.NODE_ENV === 'production')
    throw new Error('TENANCY_SECRET must be set under NODE_ENV=production')
  const rls = { secret: secret ?? 'a secret for trying it out, known to everybody' }
  const tables = isolation === 'schema' || isolation === 'database' ? {} : { tenant: ['projects', 'tasks'] }

  // One pool for set-up and requests: an embedded database has a single connection.
  const pool = openPool(databaseUrl)
  const own = isolation === 'database' ? ownDatabases(databaseUrl, rls.secret) : undefined
  const database = { url: pool, ...own?.options }
  // An id of any length is looked up and not found. A number is not a valid name.
  const app = Fastify({
    logger,
    routerOptions: { maxParamLength: 16_384 },
    ajv: { customOptions: { coerceTypes: false } }
  })
  app.addHook('onClose', async () => {
    await own?.close()
    await pool.end()
  })
  await setUp(pool, { database, isolation, rls, tables })

  await app.register(tenancy, {
    baseDomain,
    database,
    ...(redisUrl !== undefined && { redis: redisUrl }),
    isolation,
    rls,
    tables,
    rateLimit: limitsFile,
    closeTimeout: '5s'
  })
  routes(app)
  return app
}
