// The servers, the proxies between them and each process, the tenants and their tables.
import { createManager, type Manager } from '@fastify-tenancy/manager'
import { Redis } from 'ioredis'
import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Test } from 'tap'

import { fixtureOptions, managerFixture, secret } from '../manager/manager-fixture.ts'
import { startCluster, type RedisCluster } from '../support/cluster.ts'
import { pgBouncer } from '../support/pgbouncer.ts'
import { startPostgres, startRedis, temporaryFolder, type PostgresService,
  type RedisService } from '../support/services.ts'
import { loginUrl } from '../support/sql.ts'
import { tcpProxy, type TcpProxy } from '../support/tcp-proxy.ts'
import type { AppSettings } from './app.ts'
import type { Route } from './plan.ts'
import { secretOf } from './secrets.ts'
import { ddl, tenantTables } from './tables.ts'

export const tenants = ['acme', 'globex', 'initech', 'hooli', 'umbrella', 'stark'] as const
export type TenantName = typeof tenants[number]

/** Which tenant a change meets. The first two only live through the faults. */
export const roles = { suspended: 'initech', moved: 'hooli', renamed: 'umbrella', limited: 'stark' } as const

export const processCount = 3
export const perMinute = 60

const limitsFile = JSON.stringify({
  default: { rpm: 'unlimited' },
  tenants: { [`id:id-${roles.limited}`]: { rpm: perMinute } }
})

/** Redis keeps every write that it acknowledged, also over a kill. */
const durable = ['--appendonly', 'yes', '--appendfsync', 'always']

export interface World {
  readonly superUrl: string
  readonly postgres: PostgresService
  readonly route: Route
  /** Undefined where the route is a Cluster. */
  redis: RedisService | undefined
  readonly cluster: RedisCluster | undefined
  /** The proxies of each process. */
  readonly links: readonly Links[]
  /** The secrets with which a process starts now, the signing one first. */
  secrets: string[]
  /** By tenant: the slug now, and those before. */
  readonly slugs: Map<string, string[]>
  readonly limitsPath: string
  settings(process: number): AppSettings
  /** A manager with the present secrets. */
  manager(): Manager
  restartRedis(): Promise<void>
  restoreLimits(): void
}

/** What stands between a process and its servers. */
export interface Links {
  /** To the tenants' rows, and to tenants' records. */
  readonly postgres: readonly TcpProxy[]
  /** None to a Cluster, whose nodes announce their own addresses. */
  readonly redis: readonly TcpProxy[]
}

/** Starts everything but the processes. All of it ends with the test. */
export async function openWorld (t: Test, route: Route): Promise<World> {
  // The tests' servers lose commits of the last moment in a crash, unless they are told not to.
  const postgres = await startPostgres('-c', 'synchronous_commit=on')
  t.teardown(() => postgres.stop())
  process.env.TEST_DATABASE_URL = postgres.url
  const folder = temporaryFolder()
  t.teardown(() => {
    rmSync(folder, { recursive: true, force: true })
  })
  const cluster = route === 'cluster' ? await startCluster(t, { replicas: true }) : undefined
  const redisArgs = [...durable, '--dir', folder]
  const redis = cluster === undefined ? await startRedis({ args: redisArgs }) : undefined
  const on = await managerFixture(t, { build: ddl, tables: { tenant: tenantTables, shared: [] }, more: {} })
  const [appUrl, registryUrl] = [loginUrl(on.superUrl, 'app'), loginUrl(on.superUrl, 'registry')]
  const { database, ...options } = fixtureOptions(on.superUrl, {
    build: ddl,
    tables: { tenant: tenantTables, shared: [] }
  })
  const logins = { ...database as object, url: appUrl, registryUrl, ownerUrl: on.superUrl }
  const pooled = route === 'pgbouncer'
    ? await pgBouncer(t, appUrl, 'transaction', { size: 8, lines: 'server_login_retry = 1' })
    : appUrl
  const links = await Promise.all(Array.from({ length: processCount }, async (): Promise<Links> => ({
    postgres: [await tcpProxy(t, pooled), await tcpProxy(t, registryUrl)],
    redis: redis === undefined ? [] : [await tcpProxy(t, redis.url)]
  })))
  const limitsPath = join(folder, 'limits.json')
  // A manager may be at work with the secrets of before.
  const managers = new Map<string, Manager>()
  t.teardown(() => Promise.all([...managers.values()].map(manager => manager.close())))
  const world: World = {
    superUrl: on.superUrl,
    postgres,
    route,
    redis,
    cluster,
    links,
    secrets: [secret],
    slugs: new Map(tenants.map(tenant => [tenant, [tenant]])),
    limitsPath,
    settings: at => ({
      url: links[at]?.postgres[0]?.url ?? '',
      registryUrl: links[at]?.postgres[1]?.url ?? '',
      redis: links[at]?.redis[0]?.url ?? cluster?.nodes.map(({ port }) => port) ?? '',
      secrets: world.secrets,
      limits: limitsPath
    }),
    manager () {
      const known = managers.get(world.secrets.join())
      if (known !== undefined) return known
      const manager = createManager({
        ...options,
        database: logins,
        rls: { secret: secretOf(world.secrets) },
        redis: redis === undefined ? cluster?.client() : redis.url
      })
      managers.set(world.secrets.join(), manager)
      return manager
    },
    async restartRedis () {
      await world.redis?.stop()
      world.redis = await startRedis({ port: redis?.port ?? 0, args: redisArgs })
    },
    restoreLimits () {
      writeFileSync(limitsPath, limitsFile)
    }
  }
  t.teardown(() => world.redis?.stop())
  world.restoreLimits()
  const manager = world.manager()
  await manager.init({ url: on.superUrl, tenantRoles: true })
  for (const slug of tenants) await manager.create({ slug, id: `id-${slug}` })
  return world
}

/** Runs `work` with a client of each Redis server. */
export async function onRedis<T> (world: World, work: (client: Redis) => Promise<T>): Promise<T[]> {
  const servers = world.cluster?.nodes ?? (world.redis === undefined ? [] : [world.redis])
  return Promise.all(servers.map(async ({ url }) => {
    const client = new Redis(url)
    try {
      return await work(client)
    } finally {
      client.disconnect()
    }
  }))
}
