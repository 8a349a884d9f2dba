// Migrations and moves on the pages of the console.
import tenancyConsole from '@fastify-tenancy/console'
import Fastify from 'fastify'
import tenancy from 'fastify-tenancy'
import t from 'tap'

import { lifecycleFixture, tables } from '../manager/lifecycle-fixture.ts'
import { operator } from './console-world.ts'

const ownTables = `
  create table projects (id int primary key, parent int references projects);
  create table tasks (id int primary key, project_id int not null references projects);
  create table comments (id int primary key, project_tenant text, project_id int not null
    references projects)`

t.test('migrations that have not run, and a move that is not confirmed, are on the pages', async t => {
  const world = await lifecycleFixture(t, 'rls', {
    provision: async ({ client }) => {
      await client.query(ownTables)
    },
    migrations: { shared: { getMigrations: async () => ({ '001_first': { up: async () => {} } }) } }
  })
  const { manager, options } = world
  await world.fill(await manager.create({ slug: 'mover', id: 'm-1' }))
  const open = async (): Promise<(url: string) => Promise<string>> => {
    const app = Fastify()
    t.teardown(() => app.close())
    const { url, registryUrl } = options.database as { url: string; registryUrl: string }
    await app.register(tenancy, { baseDomain: 'example.com', database: { url, registryUrl }, tables })
    await app.register(tenancyConsole, { prefix: '/ops', manager, authorize: () => operator })
    return async url => {
      // A page does not wait long for the migrations, and says so.
      for (;;) {
        const { body } = await app.inject(`/ops${url}`)
        if (!body.includes('is being read')) return body
      }
    }
  }
  const before = await open()
  t.match(await before('/'), /mover<\/a>[^]*1 pending[^]*none has run/)
  await manager.migrate()
  await manager.move({ id: 'm-1' }, { isolation: 'schema' })
  const after = await open()
  t.match(await after('/'), /1 move not confirmed, 0 deletions not purged/)
  t.match(await after('/?q=mover'), /mover<\/a>[^]*schema[^]*<span class="badge warn">move not confirmed/)
  t.match(
    await after('/tenants/m-1'),
    new RegExp(
      String.raw`from rls\s+on default\s+to schema on default\. The tenant is served from the new ` +
        'place[^]*npx tenancy move mover --confirm'
    )
  )
  await manager.confirmMove({ id: 'm-1' })
  t.notMatch(await after('/tenants/m-1'), /not confirmed/)
})
