// Issue 3: creating a scope and its Kysely for each request, in µs, without sending anything.
import { TenantScope } from '@fastify-tenancy/core/scope'

import { repeat } from '../../src/micro.ts'
import { race } from '../../src/race.ts'
import { report, markdownTable } from '../../src/report.ts'
import { measuredPool, openSuite, startServer, tenants } from './postgres.ts'

const server = await startServer()
const silent = { info () {}, warn () {}, error () {} }
const tenant = tenants[0]
if (tenant === undefined) throw new Error('there are no tenants')

async function handles (isSigned: boolean): Promise<() => void> {
  const { pool } = measuredPool((isSigned ? server.signed : server.plain).url)
  const database = await openSuite(pool, isSigned)
  return () => {
    const scope = new TenantScope(tenant as NonNullable<typeof tenant>, silent)
    database.forScope(scope)
    scope.end()
  }
}

const [plain, signed] = [await handles(false), await handles(true)]
const result = await race({
  name: 'a scope alone',
  run: () =>
    repeat(() => {
      new TenantScope(tenant, silent).end()
    })
}, [
  { name: 'with request.db, rls', run: () => repeat(plain) },
  { name: 'with request.db, rls signed', run: () => repeat(signed) }
])
const costs = result.names.filter(name => name !== result.baseline).map(name =>
  `${name} ${result.figure(name, 'each').median <= 5 ? '✓' : '**missed**'}`
)
report(
  'scope',
  `${markdownTable(result, [{ figure: 'each', title: 'µs' }])}\n\nTarget: at most 5 µs: ${costs.join(', ')}`
)
await server.stop()
process.exit()
