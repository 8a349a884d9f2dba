// Random hosts in requests as bytes, against an oracle that is written from the guide and shares
// nothing with the resolver.
import { tenantResolver } from '@fastify-tenancy/resolver'
import { memoryRegistry } from '@fastify-tenancy/core'
import assert from 'node:assert/strict'
import fc from 'fast-check'
import Fastify, { type FastifyInstance } from 'fastify'
import { once } from 'node:events'
import { connect, type AddressInfo } from 'node:net'
import type { Test } from 'tap'

import type { Fuzzer } from './fuzzer.ts'
import { expectedOf, type HostCase } from './host-oracle.ts'

/** Host names of tenants, and what an attacker makes of them. */
const names = ['acme.example.com', 'globex.example.com', 'acme.shop', 'shop.globex.test', 'example.com',
  'www.example.com', 'initech.example.com', 'acme', 'xn--cme-lna.example.com', 'acme.globex.example.com',
  'acme--globex.preview.example.com', 'globex--acme.preview.example.com', '127.0.0.1', '127.1', '0x7f.1',
  '2130706433', '[::1]', '[::ffff:127.0.0.1]', '::1', 'acme.example.com.evil.test', 'evilexample.com', '']

const parts = ['acme', 'globex', 'example', 'com', 'shop', 'xn--', '--', '-', '.', '..', '_', '*', '%', '%2e',
  '%00', ':', ':80', ':0', ':65536', ':8080', '@', '/', '\\', '?', '#', ',', ';', ' ', '\t', '\u00e4',
  '\u0430', '\u2024', '\u3002', '\u0130', '\u200d', 'A', '0', '[', ']', '::', "'", '"', 'a'.repeat(64)]

const host = fc.oneof(
  fc.constantFrom(...names),
  // A known name with other letters' case, a dot, a port.
  fc.record({
    name: fc.constantFrom(...names),
    flips: fc.nat(2 ** 20),
    end: fc.constantFrom('', '.', '..', ':443', '.:8080', ':0', ':65536', ':', ':80:80', ' ', '\t', ',')
  }).map(({ name, flips, end }) =>
    [...name].map((letter, at) => (flips >> (at % 20)) & 1 ? letter.toUpperCase() : letter).join('') + end
  ),
  // A known name with a part in it.
  fc.record({ name: fc.constantFrom(...names), at: fc.nat(30), part: fc.constantFrom(...parts) }).map((
    { name, at, part }
  ) => name.slice(0, at) + part + name.slice(at)),
  fc.array(fc.constantFrom(...parts), { maxLength: 8 }).map(list => list.join('')),
  fc.string({ unit: 'binary', maxLength: 40 })
)

const hostName = fc.constantFrom('Host', 'host', 'HOST', 'hOsT')
const others = fc.constantFrom(
  'X-Forwarded-Host',
  'X-Host',
  'X-Original-Host',
  'Forwarded',
  'X-Tenant',
  'Origin',
  'X-HTTP-Host-Override',
  'Host ',
  ' Host',
  'Host\u00a0',
  ':authority',
  'Referer'
)

const cases: fc.Arbitrary<HostCase> = fc.record({
  target: fc.oneof(
    { weight: 6, arbitrary: fc.constant('/') },
    { weight: 1, arbitrary: host.map(text => `http://${text}/`) },
    { weight: 1, arbitrary: host.map(text => `//${text}/`) },
    {
      weight: 1,
      arbitrary: host.map(text => `/?host=${encodeURIComponent(text.replace(/\p{Surrogate}/gu, ''))}`)
    }
  ),
  headers: fc.array(
    fc.oneof(
      { weight: 3, arbitrary: fc.tuple(hostName, host) },
      { weight: 1, arbitrary: fc.tuple(others, host) }
    ),
    { maxLength: 3 }
  )
})

/** What a request without a tenant, or one that is not HTTP, may be answered. */
const refusals: Readonly<Record<string, number>> = {
  FST_TENANCY_HOST_INVALID: 400,
  FST_TENANCY_TENANT_MISSING: 400,
  FST_TENANCY_TENANT_UNKNOWN: 404
}

/** The application that is asked. `/` answers with the tenant's slug. */
export async function hostApp (): Promise<FastifyInstance> {
  const app = Fastify()
  await app.register(tenantResolver, {
    hosts: ['{tenant}.example.com', '{tenant}--{any}.preview.example.com'],
    registry: memoryRegistry([
      { id: 'id-acme', slug: 'acme', domains: ['acme.shop'] },
      { id: 'id-globex', slug: 'globex', domains: ['shop.globex.test'] }
    ]),
    // Every request comes from one address.
    cache: { missesPerAddress: 'unlimited' }
  })
  app.get('/', request => ({ slug: request.tenant.slug }))
  return app
}

export async function openHosts (t: Test, build = hostApp): Promise<Fuzzer<HostCase>> {
  const app = await build()
  t.teardown(() => app.close())
  await app.listen({ port: 0, host: '127.0.0.1' })
  const { port } = app.server.address() as AddressInfo
  return { cases, play: one => play(port, one) }
}

async function play (port: number, one: HostCase): Promise<void> {
  const reply = await send(port, one)
  const status = Number(/^HTTP\/1\.1 (\d{3})/.exec(reply)?.[1])
  const body = JSON.parse(/\r\n\r\n(.*)$/s.exec(reply)?.[1] || '{}') as { slug?: string; code?: string }
  const { tenant, isPlain } = expectedOf(one)
  if (status === 200) {
    assert.equal(body.slug, tenant, 'the tenant of the host')
    return
  }
  assert.ok(!isPlain || tenant === undefined, `${status} for a plain host of ${tenant}`)
  const isOurs = body.code?.startsWith('FST_TENANCY_')
  if (isOurs) assert.equal(refusals[body.code ?? ''], status, body.code)
  // What Node's parser or Fastify's router refuses before any hook.
  else assert.ok(status === 400 || status === 404 || status === 431, `${status} ${reply.slice(0, 200)}`)
}

/** Sends a request as bytes. Resolves to the bytes of the first reply. */
async function send (port: number, { target, headers }: HostCase): Promise<string> {
  const socket = connect(port, '127.0.0.1').setEncoding('latin1')
  let text = ''
  socket.on('data', (chunk: string) => {
    text += chunk
  })
  const lines = headers.map(([name, value]) => `${name}: ${line(value)}`)
  socket.write(
    Buffer.from([`GET ${line(target)} HTTP/1.1`, ...lines, 'Connection: close', '', ''].join('\r\n'), 'utf8')
  )
  await once(socket, 'close')
  return text
}

/** Without line breaks, which would begin another request. */
function line (value: string): string {
  return value.replace(/[\r\n]/g, '')
}
