// PgBouncer in transaction mode before the runner's server: each transaction may get another
// backend.
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import pg from 'pg'
import type { Test } from 'tap'

import { freePort, temporaryFolder } from './services.ts'
import { until } from './until.ts'

/** The reason for skipping tests that need PgBouncer; false if it is installed. */
export const noPgBouncer: string | false = spawnSync('pgbouncer', ['--version']).status === 0
  ? false
  : 'needs pgbouncer on PATH (Debian: apt-get install pgbouncer)'

export interface PgBouncerSettings {
  /** How many backends PgBouncer has. @default 2 */
  readonly size?: number
  /** More lines for its configuration. */
  readonly lines?: string
}

/**
 * Returns the URL of `target` through a PgBouncer, stopped when the test ends. `mode` is its pool
 * mode.
 */
export async function pgBouncer (
  t: Test,
  target: string,
  mode: 'transaction' | 'session' = 'transaction',
  { size = 2, lines = '' }: PgBouncerSettings = {}
): Promise<string> {
  const folder = temporaryFolder()
  const { hostname, port: serverPort, username, password, pathname } = new URL(target)
  const port = await freePort()
  const ini = join(folder, 'pgbouncer.ini')
  writeFileSync(
    join(folder, 'users.txt'),
    `"${decodeURIComponent(username)}" "${decodeURIComponent(password)}"\n`
  )
  writeFileSync(
    ini,
    `[databases]
* = host=${hostname} port=${serverPort}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = ${port}
auth_type = plain
auth_file = ${join(folder, 'users.txt')}
pool_mode = ${mode}
default_pool_size = ${size}
${lines}
`
  )
  chmodSync(ini, 0o644)
  const child = spawn('pgbouncer', [...(process.getuid?.() === 0 ? ['-u', 'nobody'] : []), ini], {
    stdio: 'ignore'
  })
  const url = `postgres://${username}:${password}@127.0.0.1:${port}${pathname}`
  t.teardown(async () => {
    const exited = once(child, 'exit')
    child.kill('SIGKILL')
    await exited
    rmSync(folder, { recursive: true, force: true })
  })
  await until(async () => {
    const client = new pg.Client({ connectionString: url })
    return client.connect().then(() => client.end()).then(() => true, () => false)
  })
  return url
}
