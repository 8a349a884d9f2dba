import type { TenantRef } from '@fastify-tenancy/core'
import type { DatabaseHealth, TenancyDatabase } from '@fastify-tenancy/database'
import type { RedisHealth, TenancyRedis } from '@fastify-tenancy/redis'
import type { ResolverHealth, TenantResolver } from '@fastify-tenancy/resolver'

/** How the parts of the suite do. */
export interface TenancyHealth {
  readonly status: 'ok' | 'degraded' | 'down'
  readonly resolver: ResolverHealth
  readonly database: DatabaseHealth
  /** Undefined where no redis is configured. */
  readonly redis: RedisHealth | undefined
}

/** What the suite offers apart from requests: `app.tenancy`. */
export class Tenancy {
  readonly #resolver: TenantResolver
  readonly #database: TenancyDatabase
  readonly #redis: TenancyRedis | undefined

  constructor ({ resolver, database, redis }: { resolver: TenantResolver, database: TenancyDatabase, redis: TenancyRedis | undefined }) {
    this.#resolver = resolver
    this.#database = database
    this.#redis = redis
  }

  /** Has every process look a tenant up again: for writes to the registry that bypass the manager. */
  invalidate (ref: TenantRef): Promise<void> {
    return this.#resolver.invalidate(ref)
  }

  /**
   * Whether a host is a tenant's, for servers that ask before they obtain a certificate.
   *
   * @throws FST_TENANCY_REGISTRY_UNAVAILABLE
   */
  isKnownHost (host: string): Promise<boolean> {
    return this.#resolver.isKnownHost(host)
  }

  /** How the parts do, from what they last saw: it asks nobody. */
  health (): TenancyHealth {
    const resolver = this.#resolver.health()
    const database = this.#database.health()
    const redis = this.#redis?.health()
    const states = [resolver.status, database.status, redis?.status ?? 'ok']
    // Without Redis the suite serves on, more slowly; without the database it does not.
    const status = database.status === 'down' ? 'down' : states.every(state => state === 'ok') ? 'ok' : 'degraded'
    return { status, resolver, database, redis }
  }
}
