// A Redis Cluster on loopback: three masters, and a replica of each if a test asks for it.
import { Cluster, Redis } from 'ioredis'
import type { Test } from 'tap'

import { freePort, startRedis, type RedisService } from './services.ts'
import { until } from './until.ts'

export interface RedisCluster {
  /** The masters, then their replicas in the same order. */
  readonly nodes: readonly RedisService[]
  /** A client of the cluster, closed when the test ends. */
  client(options?: ConstructorParameters<typeof Cluster>[1]): Cluster
}

export interface ClusterOptions {
  /** Whether each master has a replica, which takes over when the master fails. @default false */
  readonly replicas?: boolean
}

const masters = 3

/** Starts three nodes and gives each a third of the slots. Stops them when the test ends. */
export async function startCluster (
  t: Test,
  { replicas = false }: ClusterOptions = {}
): Promise<RedisCluster> {
  const nodes = await Promise.all(Array.from({ length: replicas ? 2 * masters : masters }, async () => {
    const bus = await freePort() // the default, port plus 10,000, may be out of range
    return startRedis({
      args: ['--cluster-enabled', 'yes', '--cluster-port', `${bus}`, '--cluster-require-full-coverage', 'no',
        '--cluster-node-timeout', '1000']
    })
  }))
  t.teardown(() => Promise.all(nodes.map(node => node.stop())))
  const admins = nodes.map(node => new Redis(node.url))
  const cuts = [0, 5_461, 10_923, 16_384]
  for (const [at, admin] of admins.slice(0, masters).entries())
    await admin.call('CLUSTER', 'ADDSLOTSRANGE', cuts[at] ?? 0, (cuts[at + 1] ?? 0) - 1)
  const buses = await Promise.all(
    admins.map(async admin => ((await admin.call('CONFIG', 'GET', 'cluster-port')) as string[])[1])
  )
  for (const [at, node] of nodes.slice(1).entries())
    await admins[0]?.call('CLUSTER', 'MEET', '127.0.0.1', node.port, buses[at + 1] ?? '')
  await until(async () => {
    const states = await Promise.all(admins.map(admin => admin.call('CLUSTER', 'INFO') as Promise<string>))
    return states.every(state =>
      state.includes('cluster_state:ok') && state.includes(`cluster_known_nodes:${nodes.length}`)
    )
  }, 15_000)
  for (const [at, replica] of admins.slice(masters).entries()) {
    const id = await admins[at]?.call('CLUSTER', 'MYID')
    await replica.call('CLUSTER', 'REPLICATE', String(id))
    await until(async () => (await replica.info('replication')).includes('master_link_status:up'), 15_000)
  }
  for (const admin of admins) admin.disconnect()
  return {
    nodes,
    client (options = {}) {
      const cluster = new Cluster(nodes.map(({ port }) => ({ host: '127.0.0.1', port })), options)
      cluster.on('error', () => {})
      t.teardown(() => {
        cluster.disconnect()
      })
      return cluster
    }
  }
}
