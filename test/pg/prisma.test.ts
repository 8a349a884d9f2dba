// Prisma's adapter on a tenant's pool of pg, called as Prisma's engine calls it.
import { PrismaPg } from '@prisma/adapter-pg'
import t from 'tap'

import { poolOf, world } from './world.ts'

const query = (text: string, ...args: unknown[]) => ({
  sql: text,
  args,
  argTypes: args.map(arg => ({
    scalarType: typeof arg === 'number' ? 'int' as const : 'string' as const,
    arity: 'scalar' as const
  }))
})

t.test("PG-11 Prisma's pg adapter: two tenants see only their own rows in all statements", async t => {
  const w = await world(t, { pool: { max: 3 } })
  const of = (id: string) => new PrismaPg(poolOf(t, w, id).pool).connect()
  const [acme, globex] = [await of('acme'), await of('globex')]
  for (const [name, db] of [['acme', acme], ['globex', globex]] as const) {
    t.equal(
      await db.executeRaw(
        query('insert into projects (id, name) values ($1, $2), (2, $3)', 1, `${name} 1`, `${name} 2`)
      ),
      2
    )
    await db.executeRaw(query('insert into tasks (id, project_id, title) values (1, 1, $1)', `${name} task`))
  }
  for (const [name, db] of [['acme', acme], ['globex', globex]] as const) {
    const { rows, columnNames } = await db.queryRaw(
      query('select p.name, t.title from projects p join tasks t on t.project_id = p.id')
    )
    t.same([columnNames, rows], [['name', 'title'], [[`${name} 1`, `${name} task`]]])
  }
  const tx = await acme.startTransaction('SERIALIZABLE')
  await tx.executeRaw(query("update projects set name = 'renamed'"))
  await tx.createSavepoint?.('s1')
  await tx.executeRaw(query('delete from projects'))
  t.same((await tx.queryRaw(query('select name from projects'))).rows, [])
  await tx.rollbackToSavepoint?.('s1')
  await tx.releaseSavepoint?.('s1')
  t.same((await tx.queryRaw(query("select current_setting('transaction_isolation')"))).rows, [[
    'serializable'
  ]])
  await tx.executeRaw(query('COMMIT'))
  await tx.commit()
  const undone = await globex.startTransaction()
  await undone.executeRaw(query('delete from projects'))
  await undone.executeRaw(query('ROLLBACK'))
  await undone.rollback()
  const names = async (db: typeof acme) =>
    (await db.queryRaw(query('select name from projects order by id'))).rows
  t.same(await names(acme), [['renamed'], ['renamed']])
  t.same(await names(globex), [['globex 1'], ['globex 2']])
  await t.rejects(acme.executeRaw(query('set role none')))
  await acme.dispose()
})
