// Issue 4: building and compiling a query of a rewritten handle, in µs of CPU, without sending it.
import { TenantScope } from '@fastify-tenancy/core/scope'
import { DummyDriver, Kysely, PostgresAdapter, PostgresIntrospector, PostgresQueryCompiler } from 'kysely'

import { repeat } from '../../src/micro.ts'
import { race } from '../../src/race.ts'
import { report, markdownTable, type BenchTarget } from '../../src/report.ts'
import { measuredPool, openSuite, startServer, tenants, type Tables } from './postgres.ts'

const server = await startServer()
const tenant = tenants[0]
if (tenant === undefined) throw new Error('there are no tenants')
const database = await openSuite(measuredPool(server.plain.handUrl).pool, false, {}, {
  isolation: 'row',
  tables: { tenant: ['bare_items'] }
})
const row = database.forScope(
  new TenantScope(tenant, { info () {}, warn () {}, error () {} })
) as unknown as Kysely<Tables>
const plain = new Kysely<Tables>({
  dialect: {
    createDriver: () => new DummyDriver(),
    createAdapter: () => new PostgresAdapter(),
    createIntrospector: db => new PostgresIntrospector(db),
    createQueryCompiler: () => new PostgresQueryCompiler()
  }
})

function join (db: Kysely<Tables>): void {
  db.selectFrom('bare_items as a')
    .innerJoin('bare_items as b', 'b.id', 'a.id')
    .leftJoin('bare_items as c', 'c.id', 'b.id')
    .select(['a.id', 'b.title', 'c.title as other'])
    .where('a.id', '>', 10)
    .where(eb => eb.or([eb('b.title', '=', 'x'), eb('c.title', '=', 'y')]))
    .orderBy('a.id')
    .limit(20)
    .compile()
}

const result = await race({
  name: 'Kysely',
  run: () =>
    repeat(() => {
      join(plain)
    })
}, [{
  name: 'row',
  run: () =>
    repeat(() => {
      join(row)
    })
}])
const targets: readonly BenchTarget[] = [{ name: 'row', figure: 'each', atMost: 2 }]
report('compile', markdownTable(result, [{ figure: 'each', title: 'µs' }], targets))
await server.stop()
process.exit()
