// A Redis Cluster of three masters on loopback.
import { Cluster, Redis } from 'ioredis'
import type { Test } from 'tap'

import { freePort, startRedis, type RedisService } from './services.ts'
import { until } from './until.ts'

export interface RedisCluster {
  readonly nodes: readonly RedisService[]
  /** A client of the cluster, closed when the test ends. */
  client(options?: ConstructorParameters<typeof Cluster>[1]): Cluster
}

/** Starts three nodes and gives each a third of the slots. Stops them when the test ends. */
export async function startCluster (t: Test): Promise<RedisCluster> {
  const nodes = await Promise.all(['a', 'b', 'c'].map(async () => {
    const bus = await freePort() // the default, port plus 10,000, may be out of range
    return startRedis({
      args: ['--cluster-enabled', 'yes', '--cluster-port', `${bus}`, '--cluster-require-full-coverage', 'no',
        '--cluster-node-timeout', '1000']
    })
  }))
  t.teardown(() => Promise.all(nodes.map(node => node.stop())))
  const admins = nodes.map(node => new Redis(node.url))
  const cuts = [0, 5_461, 10_923, 16_384]
  for (const [at, admin] of admins.entries())
    await admin.call('CLUSTER', 'ADDSLOTSRANGE', cuts[at] ?? 0, (cuts[at + 1] ?? 0) - 1)
  const buses = await Promise.all(
    admins.map(async admin => ((await admin.call('CONFIG', 'GET', 'cluster-port')) as string[])[1])
  )
  for (const [at, node] of nodes.slice(1).entries())
    await admins[0]?.call('CLUSTER', 'MEET', '127.0.0.1', node.port, buses[at + 1] ?? '')
  await until(async () => {
    const states = await Promise.all(admins.map(admin => admin.call('CLUSTER', 'INFO') as Promise<string>))
    return states.every(state =>
      state.includes('cluster_state:ok') && state.includes('cluster_known_nodes:3')
    )
  }, 15_000)
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
