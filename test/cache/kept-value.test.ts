// Values kept in the process: every reader's own, whatever they hold.
import t from 'tap'

import { KeptValue } from '../../packages/cache/src/kept-value.ts'

const texts = {
  scalars: '["text",1.5,true,null,""]',
  nested: '{"a":{"b":[{"c":1},[],{}]},"d":null}',
  'a key __proto__': '{"__proto__":{"isAdmin":true},"x":{"__proto__":[1]}}',
  'keys that are numbers': '{"1":"b","0":"a","10":[{"2":3}]}',
  'a lone null': 'null',
  'many small parts': JSON.stringify(Array.from({ length: 500 }, () => ({}))),
  'depth of ten thousand': `${'['.repeat(10_000)}${']'.repeat(10_000)}`
}

for (const [what, text] of Object.entries(texts)) {
  t.test(`${what}: read as it was written, at every use`, async t => {
    const kept = new KeptValue(text)
    for (let use = 1; use <= 4; use++) t.equal(JSON.stringify(kept.read()), text, `use ${use}`)
  })
}

t.test('what one reader does to its value shows in no other', async t => {
  const kept = new KeptValue('{"list":[1,[2]],"inner":{"n":1}}')
  for (let use = 1; use <= 4; use++) {
    const value = kept.read() as { list: unknown[], inner: Record<string, unknown>, added?: number }
    t.same(value, { list: [1, [2]], inner: { n: 1 } }, `use ${use}`)
    value.added = 1
    value.inner['n'] = 2
    ;(value.list[1] as unknown[]).push(3)
  }
})

t.test('a key __proto__ changes nobody\'s prototype', async t => {
  const kept = new KeptValue('{"__proto__":{"isAdmin":true}}')
  for (let use = 1; use <= 3; use++) {
    const value = kept.read() as object
    t.equal(Object.getPrototypeOf(value), Object.prototype)
    t.notOk('isAdmin' in value)
  }
})
