import t from 'tap'

import { dbOf, suite, tenants as all } from '../support/suite.ts'
import { provision } from '../support/tenants.ts'
import { createManager } from '@fastify-tenancy/manager'
import { sql } from 'kysely'

t.test("SID-01 SID-02 SID-03 RLS-10 a reply does not reveal another tenant's value or row", async t => {
  const on = await provision(t)
  const tables = { tenant: ['accounts', 'invoices'] }
  await on.admin(`
    create table accounts (tenant_id text not null, id int not null, email text not null, primary key
      (tenant_id, id), unique (email));
    create table invoices (tenant_id text not null, id int not null, account_id int not null, primary key
      (tenant_id, id), foreign key (tenant_id, account_id) references accounts (tenant_id, id) on delete
        cascade)`)
  const manager = createManager({
    database: on.superUrl,
    tables,
    ...(on.secret !== undefined && { rls: { secret: on.secret } })
  })
  t.teardown(() => manager.close())
  await manager.protect()
  const lines: string[] = []
  const app = await suite(t, on, {
    tables,
    logStream: {
      write: line => {
        lines.push(line)
      }
    }
  })
  app.post<{ Body: { id: number; email: string } }>(
    '/accounts',
    async ({ db, body }) =>
      sql`insert into accounts (id, email) values (${body.id}, ${body.email})`.execute(dbOf({ db })).then(
        () => ({ ok: true })
      )
  )
  app.post<{ Body: { account: number } }>(
    '/invoices',
    async ({ db, body }) =>
      sql`insert into invoices (id, account_id) values (1, ${body.account})`.execute(dbOf({ db })).then(
        () => ({ ok: true })
      )
  )
  app.delete<{ Params: { id: string } }>(
    '/accounts/:id',
    async ({ db, params }) =>
      (await sql`delete from accounts where id = ${params.id}`.execute(dbOf({ db }))).numAffectedRows === 1n
  )
  const send = async (
    slug: string,
    method: 'POST' | 'DELETE',
    url: string,
    payload?: object
  ): Promise<{ status: number; body: string }> => {
    const { statusCode, body } = await app.inject({
      method,
      url,
      headers: { host: `${slug}.example.com` },
      ...(payload && { payload })
    })
    return { status: statusCode, body }
  }

  t.equal((await send('globex', 'POST', '/accounts', { id: 7, email: 'taken@globex.test' })).status, 200)
  t.equal((await send('acme', 'POST', '/accounts', { id: 1, email: 'own@acme.test' })).status, 200)
  t.equal(
    (await send('acme', 'POST', '/accounts', { id: 7, email: 'other@acme.test' })).status,
    200,
    'keys that lead with the tenant do not collide'
  )

  const others = await send('acme', 'POST', '/accounts', { id: 2, email: 'taken@globex.test' })
  const own = await send('acme', 'POST', '/accounts', { id: 3, email: 'own@acme.test' })
  t.same(others, own, 'a value that another tenant has is refused as an own one is')
  t.equal(own.status, 409)
  t.notMatch(own.body, /email|taken|globex|accounts|key/i)

  await send('acme', 'DELETE', '/accounts/7')
  t.same(
    await send('acme', 'POST', '/invoices', { account: 7 }),
    await send('acme', 'POST', '/invoices', { account: 999 }),
    "another tenant's row is as missing as none"
  )
  t.same(await on.admin('select tenant_id, id from accounts order by 1, 2'), [{ tenant_id: 'id-acme', id: 1 },
    { tenant_id: 'id-globex', id: 7 }], 'and it was not touched')
  t.ok(all.length > 1)
  for (const line of lines.filter(text => text.includes('"tenant":"id-acme"') && text.includes('req')))
    t.notMatch(line, /id-globex/, "SID-10 a line of one tenant's request names no other")
})
