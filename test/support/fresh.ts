// Each test file's own database and Redis key prefix, on the servers that the runner has started.
import { Redis } from 'ioredis'
import { randomBytes } from 'node:crypto'
import pg from 'pg'
import type { Test } from 'tap'

import { until } from './until.ts'

/** The server that the runner started, as its superuser. */
export function serverUrl (): string {
  const url = process.env.TEST_DATABASE_URL
  if (!url) throw new Error('run the tests with npm test, or set TEST_DATABASE_URL')
  return url
}

/** The reason for skipping tests that need Redis; false if there is a Redis. */
export const noRedis: string | false = process.env.TEST_REDIS_URL
  ? false
  : 'needs redis-server on PATH (Debian: apt-get install redis-server)'

/** Returns an empty database. Drops it, and the roles with its name, when the test ends. */
export async function freshDatabase (t: Test): Promise<string> {
  const name = `t_${randomBytes(6).toString('hex')}`
  // Takes half the time of the default strategy, which writes everything to the log.
  await onServer(client => client.query(`create database ${name} strategy file_copy`))
  t.teardown(() =>
    onServer(async client => {
      // `pool.end()` resolves before its sockets close. A socket that the server then ends emits
      // an error that has no listener any more.
      await until(async () =>
        (await client.query('select from pg_stat_activity where datname = $1', [name])).rowCount === 0, 500)
        .catch(() => {})
      await client.query(`drop database if exists ${name} with (force)`)
      const { rows } = await client.query<{ rolname: string }>(
        "select rolname from pg_roles where rolname like '%\\_' || substr(md5($1), 1, 8)",
        [name]
      )
      for (const { rolname } of rows)
        await client.query(`drop role if exists "${rolname}"`).catch(() => {})
    })
  )
  const url = new URL(serverUrl())
  url.pathname = `/${name}`
  return url.href
}

async function onServer<T> (work: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = new pg.Client({ connectionString: serverUrl() })
  await client.connect()
  try {
    return await work(client)
  } finally {
    await client.end()
  }
}

/** ioredis options with a random key prefix. Patient, so that a busy machine causes no outage. */
export function freshRedisOptions (): {
  host: string
  port: number
  keyPrefix: string
  connectTimeout: number
  commandTimeout: number
} {
  const { hostname, port } = new URL(process.env.TEST_REDIS_URL ?? 'redis://127.0.0.1:6379')
  return {
    host: hostname,
    port: Number(port),
    keyPrefix: `t${randomBytes(6).toString('hex')}:`,
    connectTimeout: 5_000,
    commandTimeout: 5_000
  }
}

/** A plain client with a random key prefix; closed when the test ends. */
export function freshRedis (t: Test): Redis {
  const redis = new Redis(freshRedisOptions())
  t.teardown(() => {
    redis.disconnect()
  })
  return redis
}
