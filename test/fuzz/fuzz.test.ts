// The daily form of `npm run fuzz`: what was found once, and a second of each cheap kind.
import { randomInt } from 'node:crypto'
import Fastify from 'fastify'
import t from 'tap'

import { search } from './fuzzer.ts'
import { openHosts } from './hosts.ts'
import { expectedOf } from './host-oracle.ts'
import { kinds } from './kinds.ts'
import { naiveNotes } from './naive-notes.ts'
import { openProtocol } from './protocol.ts'
import { readKept } from './seeds.ts'

const counts: Readonly<Record<string, number>> = { hosts: 300, protocol: 12 }

for (const [name, cases] of Object.entries(counts)) {
  t.test(`random ${name} show nothing of another tenant`, async t => {
    const seed = randomInt(2 ** 31)
    const fuzzer = await kinds[name]?.(t)
    t.ok(fuzzer)
    if (fuzzer !== undefined)
      t.equal((await search(fuzzer, seed, { cases })).finding, undefined, `${cases} cases from seed ${seed}`)
  })
}

t.test('control: an application that believes each host is found', async t => {
  const fuzzer = await openHosts(t, async () => {
    const app = Fastify()
    app.get('/', ({ headers }) => {
      const [slug] = String(headers['x-forwarded-host'] ?? headers.host ?? '').toLowerCase().split('.')
      return { slug }
    })
    return app
  })
  t.ok((await search(fuzzer, 1, { cases: 300, isShrunk: false })).finding)
})

t.test('control: an application that sends a lost write again is found', async t => {
  const fuzzer = await openProtocol(t, async (t, on) => naiveNotes(t, on))
  t.ok((await search(fuzzer, 1, { cases: 300, isShrunk: false })).finding)
})

const kept = Map.groupBy(readKept(), ({ kind }) => kind)
for (const [kind, cases] of kept) {
  t.test(`${kind}: what fuzzing found once stays mended`, async t => {
    const fuzzer = await kinds[kind]?.(t)
    for (const { example, was } of cases) await t.resolves(fuzzer?.play(example) ?? Promise.reject(kind), was)
  })
}

t.test('control: the oracle of hosts knows whose a host is', async t => {
  t.equal(tenant('acme.example.com'), 'acme')
  t.equal(tenant('ACME.example.com.:8080'), 'acme')
  t.equal(tenant('shop.globex.test'), 'globex')
  t.equal(tenant('globex--acme.preview.example.com'), 'globex')
  t.equal(tenant('acme.example.com', 'http://acme.example.com/'), 'acme')
  for (
    const host of ['acme.example.com..', 'acme.globex.example.com', 'acme', 'acme.example.com:0', 'evil.test']
  )
    t.equal(tenant(host), undefined, host)
  t.equal(tenant('acme.example.com', 'http://globex.example.com/'), undefined)
  t.equal(
    expectedOf({ target: '/', headers: [['Host', 'acme.shop'], ['host', 'acme.shop']] }).tenant,
    undefined
  )
})

function tenant (host: string, target = '/'): string | undefined {
  return expectedOf({ target, headers: [['Host', host]] }).tenant
}
