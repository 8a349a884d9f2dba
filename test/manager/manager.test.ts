import { createManager } from '@fastify-tenancy/manager'
import { openPool } from '@fastify-tenancy/database'
import pg from 'pg'
import t from 'tap'

import { freshDatabase } from '../support/fresh.ts'
import { isLong } from '../support/long.ts'
import { connect } from '../support/sql.ts'

const secret = 'a secret of the tests that is long enough'

t.test('on an empty database: init, tables, protect, create, get, list', async t => {
  const servers: Record<string, () => Promise<string>> = {
    PostgreSQL: () => freshDatabase(t),
    // PGlite takes seconds to start. Daily, lifecycle.test.ts has a whole life on it.
    ...isLong && { PGlite: async () => 'pglite://memory' }
  }
  for (const [name, open] of Object.entries(servers)) {
    await t.test(name, async t => {
      const pool = openPool(await open())
      t.teardown(() => pool.end())
      const manager = createManager({ database: pool, rls: { secret }, tables: { tenant: ['projects'] } })
      await manager.init()
      await pool.query(
        'create table projects (id int generated always as identity primary key, tenant_id uuid ' +
          'not null, name text not null)'
      )
      await manager.protect()
      const acme = await manager.create({
        slug: 'acme',
        name: 'Acme',
        plan: 'pro',
        settings: { theme: 'dark' },
        domains: ['Acme.Example']
      })
      t.match(acme, {
        slug: 'acme',
        name: 'Acme',
        plan: 'pro',
        status: 'active',
        isolation: 'rls',
        settings: { theme: 'dark' },
        domains: ['acme.example']
      })
      await manager.create({ slug: 'globex' })
      t.same(await manager.get({ id: acme.id }), acme)
      t.same(await manager.get({ slug: 'acme' }), acme)
      t.equal(await manager.get({ slug: 'nobody' }), undefined)
      const slugs: string[] = []
      for await (const { slug } of manager.list()) slugs.push(slug)
      t.same(slugs.toSorted(), ['acme', 'globex'])
      await manager.init()
      await manager.protect()
      await manager.close()
      t.equal((await pool.query('select 1 as one')).rows[0].one, 1, 'a pool that was passed in stays open')
    })
  }
})

function refused (message: RegExp | string): { code: string; message: RegExp | string } {
  return { code: 'FST_TENANCY_OPTION_INVALID', message }
}

t.test('unknown options and invalid tenants are refused before any change', async t => {
  // No server listens on this port.
  const manager = createManager({
    database: 'postgres://nobody@127.0.0.1:1/nothing',
    rls: { secret },
    tables: { tenant: ['projects'] }
  })
  t.teardown(() => manager.close())
  await t.rejects(
    manager.create({ slug: 'acme', plna: 'pro' } as never),
    refused('create.plna is not a known option: remove it or mend its name')
  )
  await t.rejects(
    manager.create({ slug: 'acme', plan: '' }),
    refused(/^create\.plan must be a non-empty string/)
  )
  await t.rejects(manager.create({ slug: 'acme', name: 'a\0b' }), refused(/^create\.name must not hold/))
  await t.rejects(
    manager.create({ slug: 'acme', domains: 'acme.example' as never }),
    refused(/^create\.domains must be a list of domains/)
  )
  for (const bad of [[], { n: 1n }, 'dark'])
    await t.rejects(
      manager.create({ slug: 'acme', settings: bad as never }),
      refused(/^create\.settings must be an object of plain JSON values/)
    )
  for (const shard of ['eu', '__proto__', 'constructor'])
    await t.rejects(
      manager.create({ slug: 'acme', shard }),
      refused(new RegExp(`must name the shard '${shard}'`)),
      shard
    )
  await t.rejects(manager.create(null as never), refused(/^create must be an object with a slug/))
  await t.rejects(
    manager.update({ slug: 'acme' }, { slug: 'other' } as never),
    refused(/^update\.slug is not a known option/)
  )
  await t.rejects(
    manager.suspend({ slug: 'acme' }, { reasn: 'unpaid' } as never),
    refused(/^suspend\.reasn is not a known option/)
  )
  await t.rejects(
    manager.import('./acme', { slug: 'acme', as: 'acme' } as never),
    refused(/^import\.as is not a known option/)
  )
  await t.rejects(manager.init({ hardn: true } as never), refused(/^init\.hardn is not a known option/))
  await t.rejects(manager.protect({ stage: 'prepar' } as never), refused(/^protect\.stage must be one of/))
  for (const ref of [{}, null, undefined, 'acme', { slug: 5 }, ['acme']]) {
    await t.rejects(
      manager.suspend(ref as never),
      refused(/^the tenant must be \{ id \} or \{ slug \}/),
      String(ref)
    )
    await t.rejects(
      manager.get(ref as never),
      refused(/^the tenant must be \{ id \} or \{ slug \}/),
      String(ref)
    )
  }
})

t.test('a table that no list names is not said to be protected', async t => {
  const url = await freshDatabase(t)
  const client = await connect(t, url)
  await client.query('create table notes (tenant_id text not null, body text)')
  const manager = createManager({ database: url, rls: { secret }, tables: { tenant: ['notes'] } })
  t.teardown(() => manager.close())
  await manager.init()
  await t.rejects(manager.protect({ only: ['note'] }), {
    code: 'FST_TENANCY_SETUP_INVALID',
    message: /options\.tables does not list the table 'note'/
  })
  await manager.protect({ only: ['notes'] })
})

t.test('RES-05 INJ-15 SLG-01 an invalid slug or id is refused before any write', async t => {
  const url = await freshDatabase(t)
  const manager = createManager({ database: url, reserved: ['mine'] })
  t.teardown(() => manager.close())
  await manager.init()
  for (
    const slug of ['a"; drop schema b; --', "a'b", 'a\\', 'a\0', 'A', 'mine', '', '123', 'xn--a',
      '0190f2a4-0000-7000-8000-000000000000', 'a'.repeat(64)]
  ) {
    await t.rejects(manager.create({ slug }), { code: 'FST_TENANCY_TENANT_CONFLICT' }, JSON.stringify(slug))
  }
  for (const id of ['a"; drop schema b; --', "a'b", 'a\\', 'a\0', ''])
    await t.rejects(
      manager.create({ slug: 'fine', id }),
      { code: 'FST_TENANCY_TENANT_CONFLICT' },
      JSON.stringify(id)
    )
  await manager.create({ slug: 'www' }) // reserved by default, but not in this manager's own list
  const { rows } = await (await connect(t, url)).query('select slug from tenancy.tenants')
  t.same(rows, [{ slug: 'www' }])
})

t.test('LIF-02 of two concurrent creates of one slug one gets a conflict', async t => {
  const url = await freshDatabase(t)
  const managers = Array.from({ length: 4 }, () => createManager({ database: url }))
  t.teardown(() => Promise.all(managers.map(manager => manager.close())))
  await Promise.all(managers.map(manager => manager.init())) // concurrent calls of init() must all succeed
  const results = await Promise.allSettled(managers.map(manager => manager.create({ slug: 'acme' })))
  t.equal(results.filter(({ status }) => status === 'fulfilled').length, 1)
  for (const result of results)
    if (result.status === 'rejected')
      t.match(result.reason, {
        code: 'FST_TENANCY_TENANT_CONFLICT',
        statusCode: 409
      })
})

t.test('an id must be written as the tenant column writes it', async t => {
  const url = await freshDatabase(t)
  const client = await connect(t, url)
  const manager = createManager({ database: url, tables: { tenant: { numbers: 'n', uuids: 'u' } } })
  t.teardown(() => manager.close())
  await manager.init()
  await manager.create({ slug: 'early', id: '007' }) // allowed, because no tenant column exists yet
  await client.query('create table numbers (n int not null)')
  for (const id of ['007', 'x', '99999999999'])
    await t.rejects(manager.create({ slug: 'late', id }), { code: 'FST_TENANCY_TENANT_CONFLICT' })
  t.equal((await manager.create({ slug: 'late', id: '7' })).id, '7')
  await client.query('drop table numbers; create table uuids (u uuid not null)')
  for (const id of ['0190F2A4-0000-7000-8000-000000000000', '0190f2a4000070008000000000000000'])
    await t.rejects(manager.create({ slug: 'later', id }), { code: 'FST_TENANCY_TENANT_CONFLICT' })
  await manager.create({ slug: 'later' })
})

t.test('a wrong option is named', async t => {
  t.throws(() => createManager({ database: 'mysql://x' }), {
    code: 'FST_TENANCY_OPTION_INVALID',
    message: /^options\.database/
  })
  t.throws(() => createManager({ database: 'postgres://h/d', reserved: 'www' as never }), {
    code: 'FST_TENANCY_OPTION_INVALID',
    message: /^options\.reserved must be a list of labels/
  })
  t.throws(() => createManager({ database: 'postgres://h/d', resrved: [] } as never), {
    code: 'FST_TENANCY_OPTION_INVALID',
    message: /resrved/
  })
  t.throws(() => createManager(undefined as never), { code: 'FST_TENANCY_OPTION_INVALID' })
})

t.test('a server that is down is an error, and a lost connection does not end the process', async t => {
  const manager = createManager({ database: 'postgres://nobody@127.0.0.1:1/none' })
  t.teardown(() => manager.close())
  await t.rejects(manager.init(), {
    code: 'FST_TENANCY_DATABASE_UNAVAILABLE',
    message: /shard 'default', database 'none' on 127\.0\.0\.1:1 cannot be reached as login 'nobody'/,
    cause: { code: 'ECONNREFUSED' }
  })
  const url = await freshDatabase(t)
  const other = createManager({ database: url })
  t.teardown(() => other.close())
  await other.init()
  const admin = new pg.Client(url)
  await admin.connect()
  await admin.query(
    'select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() ' +
      'and pid <> pg_backend_pid()'
  )
  await admin.end()
  t.equal(await other.get({ slug: 'nobody' }).catch(() => undefined), undefined)
})
