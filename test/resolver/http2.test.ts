import Fastify from 'fastify'
import { once } from 'node:events'
import { connect, type ClientHttp2Session, type OutgoingHttpHeaders } from 'node:http2'
import type { AddressInfo } from 'node:net'
import t from 'tap'

import { tenantResolver } from '@fastify-tenancy/resolver'
import { CountingRegistry } from './app.ts'

async function ask (client: ClientHttp2Session, headers: OutgoingHttpHeaders): Promise<string> {
  const stream = client.request({ ':path': '/', ...headers }).setEncoding('utf8')
  stream.end()
  let text = ''
  for await (const chunk of stream) text += String(chunk)
  const body = JSON.parse(text) as { slug?: string; code?: string }
  return body.slug ?? body.code ?? ''
}

t.test('HTTP/2: :authority names the tenant, and a host header that disagrees is 400', async t => {
  const app = Fastify({ http2: true })
  const registry = new CountingRegistry()
  await app.register(tenantResolver, { registry, baseDomain: 'example.com' })
  app.get('/', request => ({ slug: request.tenant.slug }))
  await app.listen({ port: 0, host: '127.0.0.1' })
  const client = connect(`http://127.0.0.1:${(app.server.address() as AddressInfo).port}`)
  t.teardown(async () => {
    client.close()
    await once(client, 'close')
    await app.close()
  })
  t.equal(await ask(client, { ':authority': 'acme.example.com' }), 'acme')
  t.equal(await ask(client, { ':authority': 'ACME.example.com:8443' }), 'acme')
  t.equal(await ask(client, { ':authority': 'acme.example.com', host: 'acme.example.com' }), 'acme')
  t.equal(
    await ask(client, { ':authority': 'acme.example.com', host: 'globex.example.com' }),
    'FST_TENANCY_HOST_INVALID'
  )
  t.equal(
    await ask(client, { ':authority': 'globex.example.com', host: 'acme.example.com' }),
    'FST_TENANCY_HOST_INVALID'
  )
  t.equal(await ask(client, { ':authority': 'acme_.example.com:0' }), 'FST_TENANCY_HOST_INVALID')
  t.equal(await ask(client, { ':authority': '127.0.0.1' }), 'FST_TENANCY_HOST_INVALID')
  // Concurrent streams of one connection.
  t.same(
    await Promise.all(
      ['acme', 'globex', 'acme', 'globex'].map(slug => ask(client, { ':authority': `${slug}.example.com` }))
    ),
    ['acme', 'globex', 'acme', 'globex']
  )
  t.same(registry.asked, ['acme', 'globex'])
})
