// A process that restores a tenant and kills itself with SIGKILL right after sending its n-th
// statement. argv holds the manager's options, the tenant's id, the export's folder and n.
import { createManager, type ManagerOptions } from '@fastify-tenancy/manager'
import pg from 'pg'

const [options = '{}', id = '', from = '', last = ''] = process.argv.slice(2)
let statements = 0
const { query } = pg.Client.prototype

Object.assign(pg.Client.prototype, {
  query (this: pg.Client, ...args: unknown[]): unknown {
    const result = query.apply(this, args as never)
    if (statements++ === Number(last)) process.kill(process.pid, 'SIGKILL')
    return result
  }
})

const manager = createManager(JSON.parse(options) as ManagerOptions)
await manager.restore({ id }, { from })
await manager.close()
