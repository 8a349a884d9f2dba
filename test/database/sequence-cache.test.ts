// Ranges of numbers that a session took ahead from a sequence with a cache. The driver forgets them
// with each reset, and where another tenant's transaction begins.
import { TenantScope } from '@fastify-tenancy/core/scope'
import { openDatabase, type DatabaseConnectionOptions } from '@fastify-tenancy/database'
import { resolveDatabaseOptions } from '@fastify-tenancy/database/options'
import type { Kysely } from 'kysely'
import t from 'tap'

import { managerFixture, fixtureOptions } from '../manager/manager-fixture.ts'

const build = (): string =>
  'create sequence numbers cache 20; create table notes (tenant_id text not null, id bigint not ' +
  "null default nextval('numbers'), primary key (tenant_id, id))"
const tables = { tenant: ['notes'], shared: ['countries'] }

t.test(
  "DAT-06 numbers taken ahead are kept between a tenant's transactions and while another tenant reads",
  { buffered: true },
  async t => {
    const on = await managerFixture(t, { build, tables })
    const { database, rls = {} } = fixtureOptions(on.superUrl, { build, tables })
    const opened = openDatabase(
      resolveDatabaseOptions({
        database: { ...database as DatabaseConnectionOptions, pool: { max: 1 } },
        rls,
        tables
      })
    )
    t.teardown(() => opened.close())
    await opened.boot()
    const numbers: number[] = []
    for (
      const [id, work] of [['acme', 'insert'], ['acme', 'insert'], ['globex', 'read'], ['acme', 'insert'], [
        'globex',
        'insert'
      ]] as const
    ) {
      const tenant = await on.manager.get({ id: `${id}-1` }) ??
        await on.manager.create({ slug: id, id: `${id}-1` })
      const scope = new TenantScope(tenant, { info () {}, warn () {}, error () {} })
      const db = opened.forScope(scope) as never as Kysely<{ notes: { tenant_id: string; id: string } }>
      await db.transaction().execute(async trx => {
        if (work === 'read') await trx.selectFrom('notes').select('id').execute()
        else numbers.push(
            Number(
              (await trx.insertInto('notes').defaultValues().returning('id').executeTakeFirstOrThrow()).id
            )
          )
      })
      scope.abort()
    }
    t.same(numbers, [1, 2, 3, 21], 'a transaction of another tenant that writes begins its own range')
  }
)
