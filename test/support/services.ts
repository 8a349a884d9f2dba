// A test's own real servers, to be stopped, frozen and killed at will.
import { spawn, type ChildProcess } from 'node:child_process'
import { randomInt } from 'node:crypto'
import { once } from 'node:events'
import { chmodSync, chownSync, existsSync, mkdtempSync, readFileSync, rmSync, statfsSync, statSync,
  writeFileSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { defaultVersion, embeddedPostgres, type PostgresVersion } from './embedded-postgres.ts'
import { until } from './until.ts'

export interface Service {
  readonly url: string
  readonly port: number
  stop(): Promise<void>
}

const memory = '/dev/shm'
const gigabyte = 2 ** 30

/**
 * Creates a folder in memory for server files; undefined if memory is short. A database has 300
 * files. Creating them soon after dropping others takes ext4 a third of PostgreSQL's time in the
 * tests.
 */
export function memoryFolder (): string | undefined {
  if (!existsSync(memory)) return undefined
  const { bavail, bsize } = statfsSync(memory)
  return Math.min(bavail * bsize, process.availableMemory()) < 4 * gigabyte
    ? undefined
    : temporaryFolder(memory)
}

export function temporaryFolder (parent = tmpdir()): string {
  const folder = mkdtempSync(join(parent, 'fastify-tenancy-'))
  chmodSync(folder, 0o755) // if we are root, PostgreSQL runs as another user
  return folder
}

/**
 * Returns a free port below the range that the kernel assigns to clients. While our server is
 * down, a port in that range could be assigned to any client. Even the client that keeps
 * reconnecting could get it, and would connect to itself.
 */
export async function freePort (): Promise<number> {
  for (;;) {
    const port = randomInt(10_000, 32_768)
    const server = createServer().listen(port, '127.0.0.1')
    const isFree = await once(server, 'listening').then(() => true, () => false)
    if (!isFree) continue
    server.close()
    await once(server, 'close')
    return port
  }
}

export interface PostgresService extends Service {
  /** Like `pg_ctl stop -m immediate`: cuts sessions off, and the next start recovers. */
  crash(): Promise<void>
  /** Starts it again. */
  start(): Promise<void>
  /** Restarts it as a standby without a primary: it serves reads only, until `pg_promote()`. */
  demote(): Promise<void>
}

/** Starts a server of the version under test: PostgreSQL 18, or `TEST_POSTGRES`. */
export function startPostgres (...flags: string[]): Promise<PostgresService> {
  return startPostgresVersion(defaultVersion, ...flags)
}

/** Starts a server of the given major version. */
export async function startPostgresVersion (
  version: PostgresVersion,
  ...flags: string[]
): Promise<PostgresService> {
  const folder = temporaryFolder(process.env.TEST_SERVER_FOLDER)
  const EmbeddedPostgres = await embeddedPostgres(version)
  const onPort = (own: number): InstanceType<typeof EmbeddedPostgres> =>
    new EmbeddedPostgres({
      databaseDir: join(folder, 'pg'),
      port: own,
      user: 'postgres',
      password: 'postgres',
      persistent: false,
      createPostgresUser: process.getuid?.() === 0,
      onLog: () => {},
      onError: () => {},
      // One round of hashing instead of 4,096, because the superuser connects thousands of times.
      // PostgreSQL 15 has no such setting.
      initdbFlags: ['--no-sync', ...version === 15 ? [] : ['-c', 'scram_iterations=1']],
      postgresFlags: ['-c', 'fsync=off', '-c', 'synchronous_commit=off', '-c', 'full_page_writes=off', '-c',
        'max_connections=300', '-c', 'max_prepared_transactions=10', ...flags]
    })
  let port = await freePort()
  let postgres = onPort(port)
  await postgres.initialise()
  try {
    await postgres.start()
  } catch {
    // Another process may have taken the port in between. The library rejects with undefined.
    port = await freePort()
    postgres = onPort(port)
    await postgres.start().catch((cause: unknown) => {
      throw new Error(`PostgreSQL ${version} did not start on port ${port}`, { cause })
    })
  }
  async function halt (signal: 'SIGQUIT' | 'SIGINT'): Promise<void> {
    const pid = Number(readFileSync(join(folder, 'pg/postmaster.pid'), 'utf8').split('\n', 1)[0])
    process.kill(pid, signal)
    await until(() => !existsSync(join(folder, 'pg/postmaster.pid')), 20_000)
  }
  return {
    url: `postgres://postgres:postgres@127.0.0.1:${port}/postgres`,
    port,
    crash: () => halt('SIGQUIT'),
    start: () => postgres.start(),
    async demote () {
      await halt('SIGINT')
      const { uid, gid } = statSync(join(folder, 'pg/PG_VERSION'))
      writeFileSync(join(folder, 'pg/standby.signal'), '')
      // The server runs as the owner of the folder.
      chownSync(join(folder, 'pg/standby.signal'), uid, gid)
      // The library waits for a log line that a standby never writes.
      postgres.start().catch(() => {})
      await listening(port)
    },
    async stop () {
      await postgres.stop()
      rmSync(folder, { recursive: true, force: true })
    }
  }
}

export interface RedisService extends Service {
  readonly process: ChildProcess
}

export async function hasRedisServer (): Promise<boolean> {
  const child = spawn('redis-server', ['--version'], { stdio: 'ignore' })
  return once(child, 'exit').then(() => true, () => false)
}

/** Rejects if there is no redis-server on PATH. */
export async function startRedis (options: { port?: number; args?: string[] } = {}): Promise<RedisService> {
  const folder = temporaryFolder()
  const port = options.port ?? await freePort()
  const child = spawn('redis-server', ['--port', `${port}`, '--bind', '127.0.0.1', '--save', '', '--dir',
    folder, ...(options.args ?? [])], { stdio: 'ignore' })
  await once(child, 'spawn')
  await listening(port)
  return {
    url: `redis://127.0.0.1:${port}`,
    port,
    process: child,
    async stop () {
      if (child.exitCode === null && child.signalCode === null) {
        const exited = once(child, 'exit')
        child.kill('SIGKILL')
        await exited
      }
      rmSync(folder, { recursive: true, force: true })
    }
  }
}

async function listening (port: number): Promise<void> {
  for (const deadline = Date.now() + 10_000; Date.now() < deadline;) {
    const socket = connect(port, '127.0.0.1')
    const isUp = await once(socket, 'connect').then(() => true, () => false)
    socket.destroy()
    if (isUp) return
    await new Promise(resolve => setTimeout(resolve, 20))
  }
  throw new Error(`nothing listens on port ${port}`)
}
