import { spawn } from 'node:child_process'
import { chmodSync, rmSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'

import { freePort, temporaryFolder } from '../../../../test/support/services.ts'
import { until } from '../../../../test/support/until.ts'

export interface Bouncer {
  /** Host and port. */
  readonly host: string
  stop(): Promise<void>
}

/** Starts PgBouncer in transaction mode before a server, for logins with the password `secret`. */
export async function startBouncer (serverPort: number, logins: readonly string[]): Promise<Bouncer> {
  const folder = temporaryFolder()
  const port = await freePort()
  const ini = join(folder, 'pgbouncer.ini')
  writeFileSync(join(folder, 'users.txt'), logins.map(login => `"${login}" "secret"\n`).join(''))
  writeFileSync(
    ini,
    `[databases]
* = host=127.0.0.1 port=${serverPort}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = ${port}
auth_type = plain
auth_file = ${join(folder, 'users.txt')}
pool_mode = transaction
default_pool_size = 10
`
  )
  chmodSync(ini, 0o644)
  const child = spawn('pgbouncer', [...(process.getuid?.() === 0 ? ['-u', 'nobody'] : []), ini], {
    stdio: 'ignore'
  })
  await until(() =>
    new Promise<true | undefined>(resolve => {
      const socket = connect(port, '127.0.0.1', () => {
        socket.destroy()
        resolve(true)
      }).on('error', () => {
        resolve(undefined)
      })
    })
  )
  return {
    host: `127.0.0.1:${port}`,
    async stop () {
      child.kill('SIGKILL')
      rmSync(folder, { recursive: true, force: true })
    }
  }
}
