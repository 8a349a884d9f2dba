import type { SqlClient } from '@fastify-tenancy/postgres/client'
import { signingKey, signToken } from '@fastify-tenancy/postgres/context-token'
import { init } from '@fastify-tenancy/postgres/install'
import { rolesOf } from '@fastify-tenancy/postgres/roles'
import t from 'tap'

import { Signer } from '../../packages/postgres/src/context-token.ts'
import { engines } from '../support/sql.ts'

const secret = 'a secret of the tests that is long enough'
const key = signingKey(secret)
const second = 1_000

t.test('a token is tenant, expiry, pid and signature, and nothing else', async t => {
  t.match(
    signToken({ key, tenant: 'acme', now: 1_700_000_000_000 }),
    /^acme\|1700000060000\|0\|[0-9a-f]{64}$/
  )
  t.match(signToken({ key, tenant: 'acme', pid: 7, now: 1_700_000_000_000.9 }), /^acme\|1700000060000\|7\|/)
  t.equal(
    signToken({ key, tenant: 'acme', pid: null, now: 0 }),
    signToken({ key: signingKey(secret), tenant: 'acme', now: 0 })
  )
  t.not(signingKey(secret).id, signingKey(`${secret}!`).id)
  for (const bad of ['', 'a|b', 'a b', 'a'.repeat(64), undefined, null, 7])
    t.throws(() => signToken({ key, tenant: bad as string }), TypeError, String(bad))
})

t.test('a token is reused for its tenant and backend for half of its life', async t => {
  const signer = new Signer(key)
  const at = 1_700_000_000_000
  const token = signer.sign('acme', 7, at)
  t.equal(token, signToken({ key, tenant: 'acme', pid: 7, now: at }))
  t.equal(signer.sign('acme', 7, at + 29_999), token)
  t.equal(signer.sign('acme', 7, at + 30_000), signToken({ key, tenant: 'acme', pid: 7, now: at + 30_000 }))
  t.equal(
    signer.sign('acme', 7, at - 1_000),
    signToken({ key, tenant: 'acme', pid: 7, now: at - 1_000 }),
    'a clock that was set back'
  )
  for (const [tenant, pid] of [['acme', 8], ['globex', 7], ['acme', null]] as const)
    t.equal(signer.sign(tenant, pid, at), signToken({ key, tenant, pid, now: at }), `${tenant} ${pid}`)
})

for (const [name, open] of engines) {
  t.test(name, async t => {
    const client = await open(t)
    await init(client, { signingSecrets: [secret] })
    const { rows: [row] } = await client.query<{ database: string; pid: number; ms: number }>(
      `select current_database()::text as database, pg_backend_pid() as pid, extract(epoch
        from clock_timestamp())::float8 * 1000 as ms`
    )
    const { database, pid, ms: now } = row!
    const verify = (token: string | undefined): Promise<string> => asApp(client, database, token)

    await t.test('a valid token names its tenant, with either key during a rotation', async t => {
      t.equal(await verify(signToken({ key, tenant: 'acme' })), 'acme')
      t.equal(await verify(signToken({ key, tenant: 'A-b_9', pid })), 'A-b_9')
      const newer = `${secret}, but newer`
      const newKey = signingKey(newer)
      await init(client, { signingSecrets: [newer, secret] })
      for (const each of [key, newKey])
        t.equal(await verify(signToken({ key: each, tenant: 'acme' })), 'acme')
      await init(client, {}) // keeps the keys
      for (const each of [key, newKey])
        t.equal(await verify(signToken({ key: each, tenant: 'acme' })), 'acme')
      t.match(await init(client, { signingSecrets: [newer] }), [
        /goes on accepting an earlier secret.*tenancy init --drop-old-secrets/
      ])
      for (const each of [key, newKey])
        t.equal(
          await verify(signToken({ key: each, tenant: 'acme' })),
          'acme',
          'CON-18 an earlier secret stays until it is dropped'
        )
      t.same(await init(client, { signingSecrets: [newer], dropOldSecrets: true }), [])
      await t.rejects(verify(signToken({ key, tenant: 'acme' })), refusedBecause('no known key signed it'))
      t.equal(await verify(signToken({ key: newKey, tenant: 'acme' })), 'acme')
      await init(client, { signingSecrets: [secret], dropOldSecrets: true })
    })

    await t.test('INJ-10 an invalid token is refused', async t => {
      const good = signToken({ key, tenant: 'acme', pid })
      const [tenant = '', expiry = '', backend = '', mac = ''] = good.split('|')
      for (const missing of [undefined, '']) await t.rejects(verify(missing), refusedBecause('there is none'))
      const malformed = ['acme', `${good}|`, `|${good}`, `${tenant}|${expiry}|${backend}`,
        `${tenant}|${expiry}|${backend}|x|${mac}`, 'null']
      for (const token of malformed) await t.rejects(verify(token), refusedBecause('it is malformed'), token)
      // The signature of a token with four parts is checked before any part is read.
      const forged = [`${good}\n`, ` ${good}`, `${tenant}||${backend}|${mac}`, good.slice(0, -1), `${good}0`,
        `a b|${expiry}|${backend}|${mac}`, `${tenant}|-1|${backend}|${mac}`,
        `${tenant}|${expiry}|${backend}|${mac.toUpperCase()}`, `${tenant}|${'9'.repeat(16)}|0|${mac}`, '|||',
        `globex|${expiry}|${backend}|${mac}`, `${tenant}|${Number(expiry) + 1}|${backend}|${mac}`,
        `${tenant}|${expiry}|0|${mac}`, `${tenant}|${expiry}|${backend}|${'0'.repeat(64)}`,
        `${tenant}|0${expiry}|${backend}|${mac}`,
        signToken({ key: signingKey('x'.repeat(32)), tenant: 'acme' })]
      for (const token of forged)
        await t.rejects(verify(token), refusedBecause('no known key signed it'), token)
      await t.rejects(
        verify(signToken({ key, tenant: 'acme', pid: pid + 1 })),
        refusedBecause('it belongs to another connection')
      )
    })

    await t.test('INJ-10 INJ-24 a token holds for 60 s, and for clocks that are 30 s apart', async t => {
      const signedAt = (seconds: number): string =>
        signToken({ key, tenant: 'acme', now: Date.now() + seconds * second })
      t.ok(Math.abs(now - Date.now()) < 5 * second, 'the server has the clock of this test')
      for (const fine of [-85, -60, -20, 0, 20, 25])
        t.equal(await verify(signedAt(fine)), 'acme', `${fine} s`)
      for (const old of [-95, -3600, -1e9])
        await t.rejects(verify(signedAt(old)), refusedBecause('it has expired'), `${old} s`)
      for (const early of [40, 3600, 1e9])
        await t.rejects(verify(signedAt(early)), refusedBecause('it is not valid yet'), `${early} s`)
    })

    await t.test('no refusal shows a tenant, a token or a key', async t => {
      for (
        const token of ['acme|1', signToken({ key: signingKey('x'.repeat(32)), tenant: 'acme' }),
          signToken({ key, tenant: 'acme', pid: 1 })]
      ) {
        const error = await verify(token).then(() => undefined, (error: object) => error)
        t.notMatch(JSON.stringify({ ...error, message: String(error) }), /acme|\|/)
      }
    })

    await t.test('INJ-11 the role of tenants reads no key, lists no tenant and looks none up', async t => {
      for (
        const text of ['select * from tenancy.signing_keys', 'select count(*) from tenancy.tenants',
          'select * from tenancy.names', 'select * from tenancy.migrations', 'select * from tenancy.domains',
          "select tenancy.tenant_by_slug('acme')", "select tenancy.tenant_by_id('acme')",
          "select tenancy.tenant_by_domain('acme.example')",
          "insert into tenancy.signing_keys values ('x', '', '')", 'create table tenancy.mine (x int)',
          `create or replace function tenancy.verified_tenant() returns text language sql
            as 'select 1::text'`]
      ) {
        await t.rejects(
          asApp(client, database, signToken({ key, tenant: 'acme' }), text),
          { code: '42501' },
          text
        )
      }
    })

    await t.test('a schema put into the search path does not change what is verified', async t => {
      await client.query(
        `create schema evil; create function evil.sha256(bytea) returns bytea language sql as $$ select
          decode(repeat('00', 32), 'hex') $$; grant usage on schema evil to public`
      )
      t.teardown(() => client.query('drop schema evil cascade'))
      const forged = `acme|${Date.now() + 60 * second}|0|${'0'.repeat(64)}`
      await t.rejects(
        asApp(
          client,
          database,
          forged,
          'set local search_path = evil, pg_catalog; select tenancy.verified_tenant() as tenant'
        ),
        { code: 'TN401' }
      )
    })
  })
}

function refusedBecause (reason: string): { code: string; message: string } {
  return { code: 'TN401', message: `tenant context refused: ${reason}` }
}

async function asApp (
  client: SqlClient,
  database: string,
  token: string | undefined,
  text = 'select tenancy.verified_tenant() as tenant'
): Promise<string> {
  await client.query('begin')
  try {
    await client.query("select set_config('role', $1, true)", [rolesOf(database).app])
    if (token !== undefined) await client.query("select set_config('tenancy.token', $1, true)", [token])
    const { rows: [row] } = await client.query<{ tenant: string }>(text)
    return row?.tenant ?? ''
  } finally {
    await client.query('rollback')
  }
}
