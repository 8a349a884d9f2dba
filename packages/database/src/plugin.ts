import type { FastifyInstance, FastifyPluginAsync, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'

import { openDatabase, DatabaseRuntime } from './database.ts'
import type { ObservedQueries } from './observe/observed-queries.ts'
import { type TenantDatabaseOptions } from './options/options.ts'
import type { TenantKysely } from './options/types.ts'
import { registerUnitsOfWork } from './units-of-work.ts'
import { resolveDatabaseOptions } from './options/resolve-options.ts'

/** A database that is already open. The caller that opened it closes it. */
export interface OpenDatabaseOptions {
  readonly database: DatabaseRuntime
  /** The name of `request.db`. @default 'db' */
  readonly decorator?: string
}

const plugin: FastifyPluginAsync<TenantDatabaseOptions | OpenDatabaseOptions> = async (
  app: FastifyInstance,
  input: TenantDatabaseOptions | OpenDatabaseOptions
) => {
  const { database, decorator } = isOpen(input) ? input : open(app, input)

  database.logShards(app.log)
  const { level, reasons, warnings = [] } = await database.boot()
  app.log[level < 3 ? 'warn' : 'info'](
    { isolationLevel: `L${level}`, reasons },
    `tenancy: isolation level L${level}${reasons.length > 0 ? `, ${reasons.join('; ')}` : ''}`
  )
  for (const warning of warnings) app.log.warn(`tenancy: ${warning}`)

  app.decorate('tenantDatabase', database)
  if (database.queries !== undefined) reportQueries(app, database.queries)
  app.decorateRequest(decorator ?? 'db', {
    getter (this: FastifyRequest): TenantKysely {
      const { route } = this.tenancy
      const scope = this.tenancy.requireScope()
      scope.assertOpen()
      if (route.transaction) database.unitOfWork(scope)
      return database.forScope(scope, route.statementTimeout)
    }
  })
  registerUnitsOfWork(app, database)
}

// Stores the route in an AsyncLocalStorage, so that old code on its own pool is attributed to it.
function reportQueries (app: FastifyInstance, queries: ObservedQueries): void {
  queries.onFirst = query => {
    app.log.warn(
      { query },
      query.by === 'old'
        ? 'tenancy: a query of the old login, which will break'
        : 'tenancy: a query was refused'
    )
  }
  app.addHook('onRequest', ({ method, routeOptions: { url } }, _reply, done) => {
    queries.enter(`${method} ${url ?? '(no route)'}`, done)
  })
}

function isOpen (input: TenantDatabaseOptions | OpenDatabaseOptions): input is OpenDatabaseOptions {
  return input.database instanceof DatabaseRuntime
}

function open (app: FastifyInstance, input: TenantDatabaseOptions): OpenDatabaseOptions {
  const options = resolveDatabaseOptions(input)
  const database = openDatabase(options)
  // Registered before the boot, so that the pools end even if the boot fails.
  app.addHook('onClose', () => database.close())
  return { database, decorator: options.decorator }
}

/**
 * Gives each request its tenant's database: `request.db`, a Kysely that cannot reach another
 * tenant's rows.
 *
 * @throws FST_TENANCY_OPTION_INVALID for a wrong option, and an error with the command to run if
 * the database is not initialised
 */
export const tenantDatabase: typeof plugin = fp(plugin, {
  name: '@fastify-tenancy/database',
  fastify: '5.x',
  dependencies: ['@fastify-tenancy/resolver']
})

export default tenantDatabase
