import t from 'tap'

import { deriveKey, Seal, signatureLength } from '@fastify-tenancy/core/keys'

const [first, second] = ['a secret of the tests, 32 characters',
  'another secret of the tests, 32 of it'] as const
const sealed = { key: 'tenancy:{acme}:cache:k', expiresAt: 2_000, note: '[0,"t"]', value: '"value"' }

t.test('EDG-02 a signature covers key, end, note and value, and no part can pass for another', async t => {
  const seal = new Seal([first], 'test')
  const signature = seal.sign(sealed)
  t.equal(signature.length, signatureLength)
  t.ok(seal.isGenuine(signature, sealed, 1_999))
  t.notOk(seal.isGenuine(signature, sealed, 2_000), 'past its end')
  const changes = [{ key: 'tenancy:{globex}:cache:k' }, { expiresAt: 20_000 }, { note: '' }, {
    value: '"other"'
  }, { key: sealed.key + sealed.note, note: '' }, { note: '', value: sealed.note + sealed.value }, {
    key: sealed.key.slice(0, -1),
    note: `k${sealed.note}`
  }]
  for (const change of changes)
    t.notOk(seal.isGenuine(signature, { ...sealed, ...change }, 1_000), JSON.stringify(change))
  for (
    const other of ['', 'x', signature.slice(1), `${signature}=`, `${signature.slice(0, -1)}ä`,
      'ä'.repeat(signatureLength)]
  ) t.notOk(seal.isGenuine(other, sealed, 1_000), other)
  t.notOk(seal.isGenuine(signature, { ...sealed, expiresAt: Number.NaN }, 1_000))
})

t.test('EDG-02 each use has a key of its own', async t => {
  t.notOk(new Seal([first], 'one').isGenuine(new Seal([first], 'two').sign(sealed), sealed, 1_000))
  t.notSame(deriveKey(first, 'one'), deriveKey(first, 'two'))
})

t.test('EDG-02 while one secret replaces the other, the new one signs and both are accepted', async t => {
  const [old, both, fresh] = [new Seal([first], 'test'), new Seal([second, first], 'test'),
    new Seal([second], 'test')]
  t.ok(both.isGenuine(old.sign(sealed), sealed, 1_000))
  t.equal(both.sign(sealed), fresh.sign(sealed))
  t.notOk(old.isGenuine(both.sign(sealed), sealed, 1_000))
  t.notOk(fresh.isGenuine(old.sign(sealed), sealed, 1_000))
})

t.test('EDG-02 a wrapped value opens for its key and until its end', async t => {
  const seal = new Seal([first], 'test')
  const text = seal.wrap('k', 'line\nline', 2_000)
  t.equal(seal.unwrap('k', text, 1_000), 'line\nline')
  t.equal(seal.unwrap('k', seal.wrap('k', '', 2_000), 1_000), '')
  t.equal(seal.unwrap('other', text, 1_000), undefined)
  t.equal(seal.unwrap('k', text, 2_000), undefined)
  for (
    const bad of ['', '.', '{}', 'line', text.slice(1), text.replace('2000', '9000'),
      text.replace('2000', '2000.5'), text.replace('2000', ''), text.slice(0, -1), text.slice(0, 44),
      `${text} `]
  ) t.equal(seal.unwrap('k', bad, 1_000), undefined, bad)
})
