// A server that shuts down in the moment in which it has accepted a connection of the budget.
import { defaultPoolSettings } from '@fastify-tenancy/postgres/client'
import { once } from 'node:events'
import { createServer, type AddressInfo } from 'node:net'
import t from 'tap'

import { ConnectionBudget } from '../../packages/database/src/pools/budget.ts'
import { until } from '../support/until.ts'

function message (type: string, body: Buffer): Buffer {
  const length = Buffer.alloc(4)
  length.writeInt32BE(body.length + 4)
  return Buffer.concat([Buffer.from(type), length, body])
}

/** AuthenticationOk, ReadyForQuery and the shutdown notice, in one packet. */
const accepted = Buffer.concat([message('R', Buffer.alloc(4)), message('Z', Buffer.from('I'))])
const shutdown = message(
  'E',
  Buffer.from('SFATAL\0VFATAL\0C57P01\0Mterminating connection due to administrator command\0\0')
)

t.test('a shutdown notice behind the login ends no process', async t => {
  const server = createServer(socket => {
    socket.on('error', () => {})
    socket.once('data', () => {
      socket.end(Buffer.concat([accepted, shutdown]))
    })
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  const budget = new ConnectionBudget({ connections: 2, whenFull: 'wait', maxWait: 1_000 })
  const { port } = server.address() as AddressInfo
  const pool = budget.openPool(`postgres://app@127.0.0.1:${port}/app`, defaultPoolSettings)
  t.teardown(() => pool.end())
  await t.rejects(pool.query('select 1'))
  await until(() => budget.open === 0)
  t.pass('its place in the budget is free again')
})
