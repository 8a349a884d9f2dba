import { assertIsolated } from '@fastify-tenancy/testing'
import { test } from 'node:test'

import { freshApp } from './fresh-app.js'

test('acme sees nothing of globex, on any route and in any table', async t => {
  const app = await freshApp(t)
  // #if row
  // Strategy `row` reads no catalog, so the kit cannot make these rows by itself.
  for (const slug of ['acme', 'globex'])
    await app.tenancy.run({ slug }, async ({ db }) => {
      const { id } = await db.insertInto('projects').values({ name: `first project of ${slug}` })
        .returning('id').executeTakeFirstOrThrow()
      await db.insertInto('tasks').values({ project_id: id, title: `first task of ${slug}` }).execute()
    })
  // #end
  const report = await assertIsolated(app, { victim: { slug: 'globex' }, attacker: { slug: 'acme' } })
  console.log(String(report))
})
