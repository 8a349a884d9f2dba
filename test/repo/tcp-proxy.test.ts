import pg from 'pg'
import t, { type Test } from 'tap'

import { serverUrl } from '../support/fresh.ts'
import { tcpProxy, type TcpProxy } from '../support/tcp-proxy.ts'
import { until } from '../support/until.ts'

async function connected (t: Test): Promise<{ proxy: TcpProxy; client: pg.Client }> {
  const proxy = await tcpProxy(t, serverUrl())
  const client = new pg.Client({ connectionString: proxy.url })
  client.on('error', () => {})
  await client.connect()
  t.teardown(() => client.end().catch(() => {}))
  proxy.reset()
  return { proxy, client }
}

t.test('one statement is one wait, with and without parameters', async t => {
  const { proxy, client } = await connected(t)
  await client.query('select 1')
  t.equal(proxy.waits, 1)
  await client.query('select $1::int', [1])
  t.equal(proxy.waits, 2)
  await client.query({ name: 'named', text: 'select $1::int', values: [1] })
  await client.query({ name: 'named', text: 'select $1::int', values: [1] })
  t.equal(proxy.waits, 4)
})

t.test('an answer of many packets is still one wait', async t => {
  const { proxy, client } = await connected(t)
  const { rows } = await client.query("select repeat('x', 1000) from generate_series(1, 5000)")
  t.equal(rows.length, 5000)
  t.equal(proxy.waits, 1)
})

t.test('the usual transaction is four waits', async t => {
  const { proxy, client } = await connected(t)
  await client.query('begin')
  await client.query("select set_config('app.tenant', $1, true)", ['acme'])
  await client.query('select 1')
  await client.query('commit')
  t.equal(proxy.waits, 4)
})

t.test('waits of parallel connections add up', async t => {
  const { proxy, client } = await connected(t)
  const second = new pg.Client({ connectionString: proxy.url })
  await second.connect()
  t.teardown(() => second.end())
  t.equal(proxy.connections, 2)
  proxy.reset()
  await Promise.all([client.query('select 1'), second.query('select 1')])
  t.equal(proxy.waits, 2)
})

t.test('a delay is felt in each direction', async t => {
  const { proxy, client } = await connected(t)
  proxy.delay(50)
  const start = performance.now()
  await client.query('select 1')
  t.ok(performance.now() - start >= 98)
  proxy.delay(0)
  t.equal(proxy.waits, 1)
})

t.test('a black hole swallows without a word, and a cut ends it', async t => {
  const { proxy, client } = await connected(t)
  proxy.blackHole()
  const query = client.query('select 1').then(() => 'answered', () => 'cut')
  t.equal(await Promise.race([query, new Promise(resolve => setTimeout(resolve, 50, 'silence'))]), 'silence')
  proxy.cut()
  t.equal(await query, 'cut')
  await until(() => proxy.connections === 0)

  proxy.restore()
  const next = new pg.Client({ connectionString: proxy.url })
  await next.connect()
  t.teardown(() => next.end())
  t.equal((await next.query('select 1 as one')).rows[0].one, 1)
})
