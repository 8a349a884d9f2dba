// Values cached in the process: every reader gets a copy of its own, for values of any type.
import t from 'tap'

import { ParsedJson } from '../../packages/cache/src/parsed-json.ts'

const texts = {
  scalars: '["text",1.5,true,null,""]',
  nested: '{"a":{"b":[{"c":1},[],{}]},"d":null}',
  'a key __proto__': '{"__proto__":{"isAdmin":true},"x":{"__proto__":[1]}}',
  'keys that are numbers': '{"0":"a","1":"b","10":[{"2":3}]}',
  'a lone null': 'null',
  'many small parts': JSON.stringify(Array.from({ length: 500 }, () => ({}))),
  'depth of five hundred': `${'["a long text beside it",'.repeat(500)}0${']'.repeat(500)}`
}

for (const [what, text] of Object.entries(texts)) {
  t.test(`${what}: read as it was written, at every use`, async t => {
    const kept = new ParsedJson(text)
    for (let use = 1; use <= 4; use++) t.equal(JSON.stringify(kept.read()), text, `use ${use}`)
  })
}

t.test("a reader's change to its value reaches no other reader", async t => {
  const kept = new ParsedJson('{"list":[1,[2]],"inner":{"n":1}}')
  for (let use = 1; use <= 4; use++) {
    const value = kept.read() as { list: unknown[]; inner: Record<string, unknown>; added?: number }
    t.same(value, { list: [1, [2]], inner: { n: 1 } }, `use ${use}`)
    value.added = 1
    value.inner['n'] = 2
    ;(value.list[1] as unknown[]).push(3)
  }
})

t.test('a key __proto__ changes no prototype', async t => {
  const kept = new ParsedJson('{"__proto__":{"isAdmin":true}}')
  for (let use = 1; use <= 3; use++) {
    const value = kept.read() as object
    t.equal(Object.getPrototypeOf(value), Object.prototype)
    t.notOk('isAdmin' in value)
  }
})

t.test('a value nested too deep to be copied is parsed each time', async t => {
  const depth = 50_000
  const kept = new ParsedJson('['.repeat(depth) + ']'.repeat(depth))
  for (let use = 1; use <= 3; use++) {
    let levels = 0
    for (let value = kept.read(); Array.isArray(value); value = value[0]) levels++
    t.equal(levels, depth)
  }
})
