import { openDatabase } from '@fastify-tenancy/database'
import { resolveDatabaseOptions } from '@fastify-tenancy/database/options'
import t from 'tap'

import { freshDatabase } from '../support/fresh.ts'
import { suite } from '../support/suite.ts'
import { provision, testSecret } from '../support/tenants.ts'

t.test('a database handle of the wrong kind stops the boot', async t => {
  const on = await provision(t)
  const said = async (options: object): Promise<string> =>
    suite(t, on, options as never).then(() => 'booted', (error: Error) => error.message)
  t.match(
    await said({ database: { url: Object.assign(new URL(on.url), { pathname: '/absent' }).href } }),
    /there is no such database: create it/
  )
  t.match(
    await said({ rls: { secret: 'too short' } }),
    /options\.rls\.secret must be a string of at least 32 characters/
  )
  t.match(await said({ database: { polo: 1 } }), 'options.database.polo is not a known option')
  t.match(await said({ rls: { secret: 'some other secret, 32 characters long' } }), /tenancy init/)
  t.match(await said({ database: { requireLevel: 3 } }), /requireLevel/)
  t.match(await said({ isolation: 'none' }), /options\.isolation must be/)
  t.match(await said({ tables: { tenant: ['notes', 'notes'] } }), /each table once/)
})

t.test('the boot report names the level that the logins reach', async t => {
  const on = await provision(t)
  const level = async (options: object, url = on.url): Promise<number> => {
    const database = openDatabase(
      resolveDatabaseOptions({
        database: { url, ...options },
        tables: on.tables,
        rls: { secret: testSecret }
      })
    )
    t.teardown(() => database.close())
    return (await database.boot()).level
  }
  t.equal(await level({}, on.superUrl), 0)
  t.equal(await level({}), 1)
  t.equal(await level({ registryUrl: on.registryUrl, systemUrl: on.systemUrl, ownerUrl: on.ownerUrl }), 3)
})

t.test('under NODE_ENV=production unsigned contexts are warned of at every level', async t => {
  const on = await provision(t, { secret: false })
  const warned = async (url: string): Promise<boolean> => {
    const database = openDatabase(resolveDatabaseOptions({ database: url, tables: on.tables }))
    t.teardown(() => database.close())
    return ((await database.boot()).warnings ?? []).some(text => text.includes('options.rls.secret'))
  }
  t.equal(await warned(on.url), false)
  const { NODE_ENV } = process.env
  t.teardown(() => {
    if (NODE_ENV === undefined) delete process.env.NODE_ENV
    else process.env.NODE_ENV = NODE_ENV
  })
  process.env.NODE_ENV = 'production'
  t.equal(await warned(on.url), true)
  t.equal(await warned(on.superUrl), true)
})

t.test('under NODE_ENV=production an embedded database needs allowEmbedded', t => {
  const { NODE_ENV } = process.env
  t.teardown(() => {
    if (NODE_ENV === undefined) delete process.env.NODE_ENV
    else process.env.NODE_ENV = NODE_ENV
  })
  const url = 'pglite://memory'
  process.env.NODE_ENV = 'production'
  t.throws(() => resolveDatabaseOptions({ database: url }), {
    code: 'FST_TENANCY_OPTION_INVALID',
    message: /options\.database must be a postgres:\/\/ URL.*set options\.database\.allowEmbedded to true/
  })
  t.throws(() => resolveDatabaseOptions({ database: { url, allowEmbedded: false } }))
  t.doesNotThrow(() => resolveDatabaseOptions({ database: { url, allowEmbedded: true } }))
  process.env.NODE_ENV = 'development'
  t.doesNotThrow(() => resolveDatabaseOptions({ database: url }), 'control: elsewhere it is accepted')
  t.end()
})

t.test('an empty PostgreSQL is refused with what to run', async t => {
  const database = openDatabase(resolveDatabaseOptions({ database: await freshDatabase(t) }))
  t.teardown(() => database.close())
  await t.rejects(database.boot(), { message: /run `tenancy init`/ })
})
