import type { ManagerOptions } from '@fastify-tenancy/manager'
import { openPool } from 'fastify-tenancy'
import { createHmac } from 'node:crypto'

type DatabaseOptions = Extract<ManagerOptions['database'], { readonly url: unknown }>

/** What strategy `database` adds to `options.database`, and a function that closes it. */
export interface OwnDatabases {
  readonly options: Pick<DatabaseOptions, 'tenants' | 'ownerUrl'>
  close(): Promise<void>
}

/**
 * Each tenant's own database: on the same server with its own login, or embedded in this process.
 */
export function ownDatabases (databaseUrl: string, secret: string): OwnDatabases {
  if (databaseUrl.startsWith('pglite:')) return embedded()
  const url = ({ id }: { readonly id: string }): string => {
    const name = `tenant_${id}`
    const password = createHmac('sha256', secret).update(`password of ${id}`).digest('hex')
    return Object.assign(new URL(databaseUrl), { username: name, password, pathname: `/${name}` }).href
  }
  return { options: { tenants: { url }, ownerUrl: databaseUrl }, async close () {} }
}

// In memory, so opening a database twice would give two different databases.
function embedded (): OwnDatabases {
  const pools = new Map<string, ReturnType<typeof openPool>>()
  const url = ({ id }: { readonly id: string }): ReturnType<typeof openPool> => {
    const pool = pools.get(id) ?? openPool('pglite://memory')
    pools.set(id, pool)
    return pool
  }
  return {
    options: { tenants: { url } },
    async close () {
      await Promise.all(Array.from(pools.values(), pool => pool.end()))
    }
  }
}
