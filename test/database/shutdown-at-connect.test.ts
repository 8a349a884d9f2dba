// The server ends a backend in the moment in which its connection is ready. `npm run chaos` found it.
import t from 'tap'

import { tcpProxy } from '../support/tcp-proxy.ts'
import { handle, open, provision } from '../support/tenants.ts'
import { until } from '../support/until.ts'

/** ReadyForQuery, outside a transaction. */
const ready = Buffer.from('Z\0\0\0\x05I', 'latin1')

function shutdown (): Buffer {
  const fields = Buffer.from('SFATAL\0VFATAL\0C57P01\0Mterminating connection\0\0', 'latin1')
  const header = Buffer.from('E\0\0\0\0', 'latin1')
  header.writeUInt32BE(fields.length + 4, 1)
  return Buffer.concat([header, fields])
}

t.test('a backend that is ended as its connection is ready fails no process', async t => {
  const on = await provision(t)
  const proxy = await tcpProxy(t, on.url)
  const url = Object.assign(new URL(on.url), { hostname: '127.0.0.1', port: String(proxy.port) }).href
  const database = await open(t, { ...on, url })
  const { db } = handle(t, database, 'acme')
  await db.insertInto('notes').values({ body: 'acme:1' }).execute()
  // The next statement needs a new connection.
  proxy.cut()
  let ended = 0
  proxy.tamper(chunk => {
    if (ended > 0 || !chunk.subarray(-ready.length).equals(ready)) return chunk
    ended++
    return Buffer.concat([chunk, shutdown()])
  })
  await db.selectFrom('notes').select('body').execute().catch((error: { statusCode?: number }) => {
    t.equal(error.statusCode, 503)
  })
  const rows = await until(() => db.selectFrom('notes').select('body').execute().catch(() => undefined))
  t.same(rows, [{ body: 'acme:1' }])
  t.equal(ended, 1, 'control: one backend was ended')
})
