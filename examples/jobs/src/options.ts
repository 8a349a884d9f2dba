import { createManager } from '@fastify-tenancy/manager'
import { openPool } from 'fastify-tenancy'
import { fileURLToPath } from 'node:url'

/** Settings from the environment, for the server and the worker. */
export interface Settings {
  readonly databaseUrl: string
  /** With Redis jobs go through BullMQ, without it through pg-boss on the database. */
  readonly redisUrl?: string | undefined
  /** Signs tenant contexts. Every process needs the same secret. */
  readonly secret: string
}

export type Options = ReturnType<typeof optionsOf>

/** Options of the suite that server and worker share. */
export function optionsOf ({ databaseUrl, redisUrl, secret }: Settings) {
  return {
    baseDomain: 'localhost',
    // One pool for everything: an embedded database has a single connection.
    database: openPool(databaseUrl),
    ...(redisUrl !== undefined && { redis: redisUrl }),
    rls: { secret },
    tables: { tenant: ['orders', 'reports', 'outbox'] }
  }
}

/** Sets the database up. On a server a deployment does this. */
export async function setUp (options: Options): Promise<void> {
  const manager = createManager({
    ...options,
    migrations: { shared: fileURLToPath(new URL('../migrations', import.meta.url)) }
  })
  await manager.init()
  await manager.migrate()
  for (const slug of ['acme', 'globex'])
    if (await manager.get({ slug }) === undefined) await manager.create({ slug })
  await manager.close()
}

export function settingsOf (env: NodeJS.ProcessEnv): Settings {
  if (env.SECRET === undefined && env.DATABASE_URL !== undefined)
    throw new Error('SECRET must be set: the server and the worker need the same one')
  return {
    databaseUrl: env.DATABASE_URL ?? 'pglite://memory',
    redisUrl: env.REDIS_URL,
    secret: env.SECRET ?? 'a secret for trying it out, 32 characters'
  }
}
