// Real servers that answer, and refuse: one for each word that Redis says it with.
import { Redis } from 'ioredis'
import type { Test } from 'tap'

import type { RedisSource } from '@fastify-tenancy/redis'

import { startCluster } from './cluster.ts'
import { startRedis, type RedisService } from './services.ts'
import { until } from './until.ts'

/** What a Redis refuses, to whom, and from when on. */
export interface Refusal {
  /** `state().reason` names it so. */
  readonly reason: string
  readonly status: 'degraded' | 'down'
  /** Starts the server; resolves to the source that a user would configure, and to what makes it refuse once that is open. */
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

/** A server that begins to refuse by one command of its administrator. */
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
      // Each node has a third of the slots; take one that has not this slot.
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
