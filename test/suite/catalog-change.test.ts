// `migrate` announces changed tables to every process through Redis. The registry's login uses a
// pooler without LISTEN here.
import { createManager } from '@fastify-tenancy/manager'
import { createTenancy } from 'fastify-tenancy'
import { sql } from 'kysely'
import t from 'tap'

import { freshRedisOptions, noRedis } from '../support/fresh.ts'
import { noPgBouncer, pgBouncer } from '../support/pgbouncer.ts'
import { provision } from '../support/tenants.ts'
import { until } from '../support/until.ts'

t.test(
  "CON-06 a process without LISTEN receives migrate's announcement through Redis",
  { skip: noRedis || noPgBouncer },
  async t => {
    const on = await provision(t)
    const redis = freshRedisOptions()
    const registryUrl = await pgBouncer(t, on.registryUrl)
    const options = {
      database: { url: on.url, registryUrl, pool: { max: 1 } },
      rls: { secret: on.secret },
      tables: on.tables,
      redis
    }
    const tenancy = await createTenancy({ ...options, baseDomain: 'example.com' } as never)
    t.teardown(() => tenancy.close())
    await on.admin(
      'insert into tenancy.tenants (id, slug, name, status, plan, isolation, shard) ' +
        "values ('acme', 'acmes', 'Acme', 'active', 'free', 'rls', 'default')"
    )
    const run = (): Promise<unknown> =>
      tenancy.run(
        { slug: 'acmes' },
        async ({ db }) =>
          sql`insert into notes (body, at) values ('x', ${'2026-02-03 04:05:06'})`.execute(db as never)
      )
    // The epoch in the database would show the change, too.
    await on.admin('alter event trigger tenancy_catalog disable')
    await on.admin('alter table notes add at date')
    await run()
    const isRight = async (): Promise<boolean> => {
      await run()
      const rows = await on.admin("select from notes where at = '2026-02-03 04:05:06'")
      return (rows as unknown as unknown[]).length > 0
    }
    const migrate = async (more: object, ...texts: string[]): Promise<void> => {
      const { redis: _, ...withoutRedis } = options
      const migrations = texts.map((text, index) => [
        `00${index}`,
        { up: async (db: never) => void await sql.raw(text).execute(db) }
      ])
      const manager = createManager({
        ...withoutRedis,
        ...more,
        database: { url: on.superUrl },
        migrations: { shared: { getMigrations: async () => Object.fromEntries(migrations) } }
      } as never)
      t.teardown(() => manager.close())
      await manager.migrate()
    }
    const changeType = 'alter table notes alter at type timestamp'
    await migrate({}, changeType)
    t.notOk(await isRight(), 'control: a manager without Redis announces to LISTEN only')
    await migrate({ redis }, changeType, 'alter table notes add other int')
    await until(isRight)
    t.pass('the type is the new one')
  }
)
