// Real servers that answer with a refusal: one for each of Redis' error words.
import { Redis } from 'ioredis'
import type { Test } from 'tap'

import type { RedisSource } from '@fastify-tenancy/redis'

import { startCluster } from './cluster.ts'
import { startRedis, type RedisService } from './services.ts'
import { until } from './until.ts'

/** A kind of refusal by Redis, the affected commands, and how it begins. */
export interface Refusal {
  /** The name in `state().reason`. */
  readonly reason: string
  readonly status: 'degraded' | 'down'
  /**
   * Starts the server. Resolves to the source to configure, and a function that starts the
   * refusals.
   */
  start(t: Test): Promise<{ readonly source: RedisSource; readonly refuse: () => Promise<unknown> }>
}

async function server (t: Test, ...args: string[]): Promise<{ service: RedisService; admin: Redis }> {
  const service = await startRedis({ args })
  const admin = new Redis(service.url)
  admin.on('error', () => {})
  t.teardown(async () => {
    admin.disconnect()
    await service.stop()
  })
  return { service, admin }
}

/** A server that refuses after one administrative command. */
function after (reason: string, ...command: string[]): Refusal {
  return {
    reason,
    status: 'degraded',
    async start (t) {
      const { service, admin } = await server(t)
      const [name = '', ...args] = command
      return { source: service.url, refuse: () => admin.call(name, ...args) }
    }
  }
}

const nothing = async (): Promise<void> => {}

function withLogin (reason: string, ...words: string[]): Refusal {
  return {
    reason,
    status: 'down',
    async start (t) {
      const { service, admin } = await server(t)
      await admin.call('ACL', 'SETUSER', 'default', 'resetpass', '>right')
      const { port } = service
      return {
        source: { host: '127.0.0.1', port, ...(words[0] !== undefined && { password: words[0] }) },
        refuse: nothing
      }
    }
  }
}

export const refusals: readonly Refusal[] = [
  after('NOPERM', 'ACL', 'SETUSER', 'default', '-@all', '+@connection', '+info'),
  withLogin('NOAUTH'),
  withLogin('WRONGPASS', 'wrong'),
  {
    reason: 'MOVED',
    status: 'degraded',
    async start (t) {
      const cluster = await startCluster(t)
      const admin = new Redis(cluster.nodes[0]!.url)
      t.teardown(() => {
        admin.disconnect()
      })
      const slot = Number(await admin.call('CLUSTER', 'KEYSLOT', '{acme}'))
      // Each node has a third of the slots. Use a node that does not have this slot.
      const other = cluster.nodes[slot < 5_461 ? 1 : 0]!
      return { source: other.url, refuse: nothing }
    }
  },
  {
    reason: 'OOM',
    status: 'degraded',
    async start (t) {
      const { service, admin } = await server(t, '--maxmemory-policy', 'noeviction')
      return { source: service.url, refuse: () => admin.config('SET', 'maxmemory', '1') }
    }
  },
  {
    reason: 'READONLY',
    status: 'degraded',
    async start (t) {
      const master = await server(t)
      const { service, admin } = await server(t)
      return {
        source: service.url,
        async refuse () {
          await admin.replicaof('127.0.0.1', master.service.port)
          await until(async () => (await admin.info('replication')).includes('master_link_status:up'))
        }
      }
    }
  },
  after('NOREPLICAS', 'CONFIG', 'SET', 'min-replicas-to-write', '1')
]
