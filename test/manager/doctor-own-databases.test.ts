// What the doctor checks in tenants' own databases: the extensions that the shared database has.
import t from 'tap'

import { connect } from '../support/sql.ts'
import { managerFixture, unique } from './manager-fixture.ts'

t.test(
  "DAT-03 the doctor names extensions that a tenant's own database lacks, and their SQL",
  {
    buffered: true
  },
  async t => {
    const on = await managerFixture(t)
    const ids = [unique(on, 'a'), unique(on, 'b')] as const
    for (const [index, id] of ids.entries())
      await on.manager.create({
        id,
        slug: `slug-${index}x`,
        isolation: 'database'
      })
    const found = async (): Promise<unknown> =>
      (await on.manager.doctor()).findings.filter(({ id }) => ['D518', 'D519', 'D691'].includes(id)).map(
        ({ id, object, meaning }) => [id, object, meaning.replace(/: the tenant's own database .*/, '')]
      )
    t.same(await found(), [], 'nothing where the two are alike')

    await on.admin(
      'create schema extensions; create extension citext schema extensions; create extension ltree; ' +
        'create extension "uuid-ossp"; create extension pgcrypto; ' +
        'alter table labels add key uuid default uuid_generate_v4()'
    )
    const objects = ids.map(id => `database tenant_${id} of tenant ${id}`)
    t.same(await found(), [
      ...objects.map(object => ['D518', object, 'citext, ltree, uuid-ossp']),
      ...objects.map(object => ['D519', object, 'pgcrypto'])
    ])
    const own = await connect(t, on.superUrl.replace(/\/[^/]*$/, `/tenant_${ids[0]}`))
    for (const { fix } of (await on.manager.doctor()).findings.filter(({ object }) => object === objects[0]))
      await own.query(fix)
    await own.query('drop extension pgcrypto; create schema other; create extension pgcrypto schema other')
    await on.admin(`alter database "tenant_${ids[1]}" allow_connections false`)
    t.match(await found(), [['D691', objects[1], /not currently accepting connections|cannot be reached/], [
      'D519',
      objects[0],
      'pgcrypto'
    ]], 'the fix mends it; another schema is not the same; one that is closed hides no other')
    await on.admin(`alter database "tenant_${ids[1]}" allow_connections true`)
    await own.end()
  }
)
