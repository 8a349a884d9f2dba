// Servers, their load generator and their Redis, each a process: common code of the HTTP
// benchmarks.
import { fork, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'

import { startRedis } from '../../../../test/support/services.ts'
import type { Contender } from '../../src/race.ts'
import { startServer } from '../database/postgres.ts'
import type { Answered, Load } from './load.ts'

/**
 * Requests before the first measurement, so that V8 has compiled the code. The baseline gets as
 * many requests as all others together. In short runs those were still half interpreted, at twice
 * their CPU.
 */
const warmUp = 60_000

export interface Server {
  /** 32 connections with a request at a time. */
  readonly apart: Contender
  /**
   * 2 connections with 16 requests in flight: few system calls, so CPU is nearly the application's
   * own.
   */
  readonly inRow: Contender
}

export interface Field {
  /**
   * Starts a server of this kind and requests it for so many tenants (1) in turn. Expects this
   * status (200).
   */
  server(kind: string, how?: { readonly status?: number; readonly tenants?: number }): Promise<Server>
  readonly versions: string
  stop(): Promise<void>
}

export async function openField (): Promise<Field> {
  const [postgres, redis] = await Promise.all([startServer(), startRedis()])
  const load = fork(join(import.meta.dirname, 'load.ts'))
  const children = [load]
  const env = {
    ...process.env,
    BENCH_DATABASE: postgres.plain.url,
    BENCH_REDIS: redis.url,
    NODE_ENV: 'production'
  }
  return {
    async server (kind, { status = 200, tenants = 1 } = {}) {
      const server = fork(join(import.meta.dirname, 'server.ts'), [kind], { env })
      children.push(server)
      const [port] = await once(server, 'message') as [number]
      const name = tenants === 1 ? kind : `${kind}, ${tenants} tenants`
      const contender = (connections: number, pipelining: number): Contender => ({
        name,
        run: () => slice(server, load, { port, status, connections, pipelining, tenants })
      })
      for (let answered = 0; answered < warmUp;)
        answered += (await shoot(load, { port, status, connections: 2, pipelining: 16, tenants })).requests
      return { apart: contender(32, 1), inRow: contender(2, 16) }
    },
    versions: postgres.version,
    async stop () {
      for (const child of children) child.kill()
      await Promise.all([postgres.stop(), redis.stop()])
    }
  }
}

async function slice (
  server: ChildProcess,
  load: ChildProcess,
  how: Load
): Promise<{ perSecond: number; cpu: number; busy: number; loadBusy: number }> {
  const before = await cpuOf(server)
  const answered = await shoot(load, how)
  const cpu = await cpuOf(server) - before
  // The first request of a refused tenant is admitted.
  if (answered.requests - answered.expected > how.tenants)
    throw new Error(
      `${
        answered.requests - answered.expected
      } of ${answered.requests} answers had another status than ${how.status}`
    )
  return {
    perSecond: answered.requests / answered.seconds,
    cpu: cpu / answered.requests,
    busy: cpu / answered.seconds / 1e6,
    loadBusy: answered.cpu / answered.seconds / 1e6
  }
}

async function shoot (load: ChildProcess, how: Load): Promise<Answered> {
  load.send(how)
  const [answered] = await once(load, 'message') as [Answered]
  return answered
}

async function cpuOf (server: ChildProcess): Promise<number> {
  server.send('cpu')
  const [{ user, system }] = await once(server, 'message') as [NodeJS.CpuUsage]
  return user + system
}
