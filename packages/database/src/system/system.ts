import { defaultPoolSettings, openPool } from '../connection/open-pool.ts'
import { ConnectionPool } from '../connection/pool.ts'
import type { ResolvedDatabaseOptions } from '../options.ts'
import type { GlobalDatabase, GlobalKysely } from '../types.ts'
import { accessSystem, type SystemAccessOptions, type SystemWork } from './access.ts'
import { RoleHandles } from './role-handles.ts'
import { SystemScope } from './scope.ts'

/** Work across tenants is rare, and must not take the server's connections from the rest. */
const systemConnections = 4

/** What is done for no tenant: work across them, and work on the global tables. */
export class System {
  readonly global: GlobalKysely
  readonly #options: ResolvedDatabaseOptions
  readonly #scope = new SystemScope()
  // Two pools on one login: log-ins, which need the global tables, are not to wait for a report across tenants.
  readonly #pools: readonly ConnectionPool[]
  readonly #handles: RoleHandles | undefined

  /** @param shared the application's connections, on which the global tables are worked on where there is no login for them. */
  constructor (options: ResolvedDatabaseOptions, shared: ConnectionPool) {
    const { systemUrl, pool: { max } } = options.database
    const own = systemUrl === undefined ? [] : [openOn(systemUrl, max, options), openOn(systemUrl, systemConnections, options)]
    const [forGlobal = shared, forSystem] = own
    const source = systemUrl === undefined ? 'options.database.url' : 'options.database.systemUrl'
    this.#options = options
    this.#pools = own
    this.#handles = forSystem && new RoleHandles(forSystem, { role: 'system', source, options })
    this.global = new RoleHandles(forGlobal, { role: 'global', source, options }).open<GlobalDatabase>(this.#scope, false)
  }

  access<T> (access: SystemAccessOptions, fn: (work: SystemWork) => T | Promise<T>): Promise<T> {
    return accessSystem(this.#handles, this.#options.audit, access, fn)
  }

  async close (): Promise<void> {
    this.#scope.end()
    await Promise.all(this.#pools.map(pool => pool.close()))
  }
}

function openOn (url: string, max: number, { database: { types, fairness } }: ResolvedDatabaseOptions): ConnectionPool {
  return new ConnectionPool(openPool(url, { ...defaultPoolSettings, max }), true, { names: true, types }, fairness)
}
