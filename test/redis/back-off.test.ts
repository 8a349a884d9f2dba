// Pauses between connections of a subscriber whose SUBSCRIBE gets no reply.
import { once } from 'node:events'
import { createServer, type AddressInfo, type Socket } from 'node:net'
import { mock } from 'node:test'
import t from 'tap'

import { openRedis } from '@fastify-tenancy/redis'

import { until } from '../support/until.ts'

t.test('a subscriber whose SUBSCRIBE gets no reply backs off despite ready connections', async t => {
  const sockets = new Set<Socket>()
  let subscribes = 0
  const server = createServer(socket => {
    sockets.add(socket)
    socket.on('error', () => {}).on('data', chunk => {
      for (const [, name = ''] of chunk.toString().matchAll(/\*\d+\r\n\$\d+\r\n(\w+)/g)) {
        if (name.toLowerCase() !== 'subscribe')
          socket.write(name.toLowerCase() === 'info' ? '$0\r\n\r\n' : '+OK\r\n')
        else if (++subscribes > 0) socket.destroy()
      }
    })
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const redis = openRedis(`redis://127.0.0.1:${(server.address() as AddressInfo).port}`)
  t.teardown(async () => {
    await redis.close()
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  await redis.ready()
  const pauses: number[] = []
  const real = globalThis.setTimeout
  mock.method(globalThis, 'setTimeout', (work: () => void, pause: number) => {
    if (work.toString().includes('#open')) pauses.push(pause)
    return real(work, Math.min(pause, 20))
  })
  t.teardown(() => {
    mock.restoreAll()
  })
  void redis.subscribe('news', () => {}, () => {})
  await until(() => subscribes >= 6)
  t.ok(Math.max(...pauses) >= 400, `pauses of ${pauses.join()} ms`)
  t.equal(redis.state().messages, 'missed')
})
