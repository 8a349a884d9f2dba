// Drizzle (node-postgres) on a tenant's pool of pg.
import { eq, sql } from 'drizzle-orm'
import { drizzle } from 'drizzle-orm/node-postgres'
import { integer, pgTable, text } from 'drizzle-orm/pg-core'
import t from 'tap'

import { poolOf, world } from './world.ts'

const projects = pgTable('projects', {
  id: integer().primaryKey(),
  name: text().notNull(),
  tags: text().array()
})
const tasks = pgTable('tasks', {
  id: integer().primaryKey(),
  projectId: integer('project_id').notNull(),
  title: text().notNull()
})

t.test('PG-09 Drizzle: two tenants see only their own rows in all statements', async t => {
  const w = await world(t, { pool: { max: 3 } })
  const of = (id: string) => drizzle({ client: poolOf(t, w, id).pool })
  const [acme, globex] = [of('acme'), of('globex')]
  for (const [name, db] of [['acme', acme], ['globex', globex]] as const) {
    await db.insert(projects).values([{ id: 1, name: `${name} 1`, tags: ['a', name] }, {
      id: 2,
      name: `${name} 2`
    }])
    await db.insert(tasks).values({ id: 1, projectId: 1, title: `${name} task` })
  }
  for (const [name, db] of [['acme', acme], ['globex', globex]] as const) {
    t.same(await db.select().from(projects).orderBy(projects.id), [
      { id: 1, name: `${name} 1`, tags: ['a', name] },
      { id: 2, name: `${name} 2`, tags: null }
    ])
    t.same(
      await db.select({ project: projects.name, task: tasks.title }).from(projects)
        .innerJoin(tasks, eq(tasks.projectId, projects.id)),
      [{ project: `${name} 1`, task: `${name} task` }]
    )
    t.same((await db.execute(sql`select count(*)::int as n from projects`)).rows, [{ n: 2 }])
  }
  await acme.transaction(async tx => {
    await tx.update(projects).set({ name: 'renamed' })
    await t.rejects(
      tx.transaction(async inner => {
        await inner.delete(projects)
        t.same(await inner.select().from(projects), [])
        inner.rollback()
      }),
      /Rollback/
    )
    t.equal((await tx.select().from(projects)).length, 2)
  }, { isolationLevel: 'serializable', accessMode: 'read write' })
  await t.rejects(
    globex.transaction(async tx => {
      await tx.delete(projects)
      throw new Error('no')
    }),
    /no/
  )
  t.same((await acme.select().from(projects)).map(({ name }) => name), ['renamed', 'renamed'])
  t.same((await globex.select().from(projects)).map(({ name }) => name), ['globex 1', 'globex 2'])
  const prepared = globex.select().from(projects).where(eq(projects.id, sql.placeholder('id'))).prepare(
    'by_id'
  )
  t.match(await prepared.execute({ id: 2 }), [{ name: 'globex 2' }])
  t.match(await globex.delete(projects).where(eq(projects.id, 1)).returning(), [{ name: 'globex 1' }])
  t.equal((await acme.select().from(tasks)).length, 1, 'the cascade stays within its tenant')
  await t.rejects(acme.execute(sql`set role none`), { cause: { code: 'FST_TENANCY_QUERY_REFUSED' } })
})
