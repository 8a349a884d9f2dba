// Issue 5: host to tenant on a hit, in process: the resolver's look-up, without Fastify's own work.
import { memoryRegistry } from '@fastify-tenancy/core'
import { openResolver, resolveResolverOptions } from '@fastify-tenancy/resolver'
import type { FastifyRequest } from 'fastify'

import { repeat } from '../../src/micro.ts'
import { race } from '../../src/race.ts'
import { report, markdownTable } from '../../src/report.ts'

const count = 1_000
const registry = memoryRegistry(
  Array.from({ length: count }, (_, at) => ({ id: `id-${at}`, slug: `t${at}` }))
)
const { resolver, strategies, close } = openResolver(
  resolveResolverOptions({ registry, baseDomain: 'example.com', cache: { localTtl: '1h', ttl: '2h' } })
)
const requests = await Promise.all(Array.from({ length: count }, async (_, at) => {
  await resolver.findHost(`t${at}.example.com`)
  return {
    raw: { rawHeaders: ['Host', `t${at}.example.com`], headers: { host: `t${at}.example.com` } },
    headers: { host: `t${at}.example.com` }
  } as unknown as FastifyRequest
}))

let next = 0
function hit (): void {
  next = (next + 1) % count
  const question = strategies.ask(requests[next] as FastifyRequest)
  if (question === undefined || question instanceof Error || !resolver.lookup.peek(question))
    throw new Error('this was to be a hit')
}

const result = await race({ name: 'the clock alone', run: () => repeat(() => performance.now()) }, [{
  name: 'host to tenant, hit',
  run: () => repeat(hit)
}])
report(
  'resolve',
  `${markdownTable(result, [{ figure: 'each', title: 'µs', digits: 3 }])}\n\nTarget: at most 0.3 µs: ${
    result.figure('host to tenant, hit', 'each').median <= 0.3 ? '✓' : '**missed**'
  }`
)
await close()
process.exit()
