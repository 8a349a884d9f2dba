// Harmless statements cost no reset under every strategy whose tenants share connections, and a
// trigger by hand is met at once.
import type { Kysely } from 'kysely'
import t from 'tap'

import { world, type Rows, type WorldOptions } from '../strategies/strategy-fixture.ts'
import { loginUrl } from '../support/sql.ts'
import { tcpProxy } from '../support/tcp-proxy.ts'
import { until } from '../support/until.ts'

const strategies: Readonly<Record<string, WorldOptions>> = {
  rls: {},
  role: { rls: { context: 'role' } },
  'rls with filter': { rls: { filter: true } },
  row: { isolation: 'row' },
  schema: { isolation: 'schema' }
}

async function use (db: Kysely<Rows>): Promise<void> {
  await db.insertInto('notes').values({ body: 'x' }).execute()
  await db.selectFrom('notes as n').innerJoin('notes as m', 'm.id', 'n.id').select(['n.body', 'm.id'])
    .execute()
  await db.selectFrom('countries').selectAll().execute()
}

for (const [name, options] of Object.entries(strategies)) {
  t.test(`CON-05, CON-26: ${name}: no reset between tenants, until a trigger is made by hand`, async t => {
    const on = await world(t, options)
    const proxy = await tcpProxy(t, loginUrl(on.superUrl, 'app'))
    const database = await on.open({ url: proxy.url, pool: { max: 1 } })
    const tenants = [await on.create('acme'), await on.create('globex')]
    const handles = tenants.map(tenant => on.handle(database, tenant).db)
    const round = async (): Promise<number> => {
      const sent = proxy.record()
      for (const db of handles) await use(db)
      return sent().split('discard all').length - 1
    }
    // The catalog of a tenant's own schema is read in the background.
    await until(async () => await round() === 0)
    t.equal(await round(), 0)
    const schema = tenants[0]?.placement.schema ?? 'public'
    await on.admin(`create function act () returns trigger language plpgsql as $$ begin return new; end $$;
      create trigger act before insert on ${schema}.notes for each row execute function act()`)
    await round()
    t.ok(await round() > 0, 'what the trigger may leave is reset')
  })
}
