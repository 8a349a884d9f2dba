// 200 tenants with a database each under a budget of connections, and the connections that the
// server counted.
import { memoryRegistry, type TenantRecord } from '@fastify-tenancy/core'
import { openDatabase } from '@fastify-tenancy/database'
import { resolveDatabaseOptions } from '@fastify-tenancy/database/options'
import { createManager } from '@fastify-tenancy/manager'
import { sql } from 'kysely'

import { drive } from '../../src/workers.ts'
import { count, scaleServer, scopeOf, timed, type PartTable } from './part.ts'

const budget = 40
const inFlight = 16

export async function databases (isShort: boolean): Promise<PartTable> {
  const many = isShort ? 6 : 200
  const server = await scaleServer()
  const template = server.url.replace('//postgres:postgres@', '//{database}:secret@')
    .replace(/\/postgres$/, '/{database}')
  const options = {
    isolation: 'database' as const,
    database: { url: server.appUrl, ownerUrl: server.url, budget, tenants: { url: template } }
  }
  const manager = createManager({
    ...options,
    async provision ({ client }) {
      await client.query('create table notes (id serial primary key, body text not null)')
    }
  })
  await manager.init()
  const tenants: TenantRecord[] = []
  const creating = await timed(async () => {
    for (let at = 0; at < many; at++) tenants.push(await manager.create({ slug: `s-${at}`, id: `t${at}` }))
  })
  const { p50: few, wrong: wrongOfFew } = await ask(server, options, tenants.slice(0, 10))
  const all = await ask(server, options, tenants)
  await manager.close()
  await server.stop()
  return {
    title: `${count(many)} databases, a budget of ${budget} connections, ${inFlight} statements in flight`,
    head: ['', ''],
    rows: [
      ['created, one after another', `${(creating / many).toFixed(0)} ms a database`],
      ['a statement, ten tenants at random, p50', `${few.toFixed(2)} ms`],
      ['a statement, all tenants at random, p50', `${all.p50.toFixed(2)} ms`],
      ['the same, p99', `${all.p99.toFixed(2)} ms`],
      ['the same, a second', all.perSecond.toFixed(0)],
      ['most connections that the server counted', `${all.most} of ${budget}`],
      ['answers of another tenant', `${all.wrong + wrongOfFew}`]
    ]
  }
}

interface Asked {
  readonly p50: number
  readonly p99: number
  readonly perSecond: number
  readonly most: number
  readonly wrong: number
}

async function ask (
  server: Awaited<ReturnType<typeof scaleServer>>,
  options: object,
  tenants: readonly TenantRecord[]
): Promise<Asked> {
  const database = openDatabase(resolveDatabaseOptions({
    ...options,
    registry: memoryRegistry([]),
    database: {
      ...(options as { database: object }).database,
      ownerUrl: undefined
    }
  }))
  await database.boot()
  let [wrong, most, asked] = [0, 0, 0]
  const work = async (): Promise<void> => {
    const tenant = tenants[Math.floor(Math.random() * tenants.length)]
    if (tenant === undefined) return
    const scope = scopeOf(tenant)
    const { rows: [row] } = await sql<{ name: string }>`select current_database() as name`
      .execute(database.forScope(scope))
    scope.end()
    if (row?.name !== tenant.placement.database && row?.name !== `tenant_${tenant.id}`) wrong++
    if (++asked % 50 === 0) most = Math.max(most, await connections(server))
  }
  await drive(inFlight, work) // opens the first connections
  const figures = await drive(inFlight, work)
  most = Math.max(most, await connections(server))
  await database.close()
  const { p50 = 0, p99 = 0, perSecond = 0 } = figures
  return { p50, p99, perSecond, most, wrong }
}

async function connections ({ admin }: Awaited<ReturnType<typeof scaleServer>>): Promise<number> {
  const { rowCount } = await admin.query(
    "select from pg_stat_activity where usename like 'tenant\\_%' or usename = 'app'"
  )
  return rowCount ?? 0
}
