// Reads what is there in the end: each tenant's rows, and what outlives the processes.
import { ask } from '../support/sql.ts'
import { until } from '../support/until.ts'
import type { Connections, Stored } from './history.ts'
import { onRedis, tenants, type World } from './world.ts'

interface Row {
  readonly table: 'entries' | 'legs' | 'marks'
  readonly key: string | null
  readonly value: string
}

/** Reads the rows of each tenant where the registry says that they are. */
export async function readStored (world: World): Promise<Map<string, Stored>> {
  const stored = new Map<string, Stored>()
  for (const name of tenants) {
    const tenant = await world.manager().get({ id: `id-${name}` })
    const isOwn = tenant?.isolation === 'schema'
    const schema = isOwn ? `"${tenant?.placement.schema}"` : 'public'
    const rows = await ask<Row & Record<string, unknown>>(
      world.superUrl,
      (['entries', 'legs', 'marks'] as const).map(table =>
        `select '${table}' as table, ${
          table === 'marks' ? 'null' : 'key'
        } as key, value from ${schema}.${table} ${isOwn ? '' : `where tenant_id = 'id-${name}'`}`
      ).join(' union all ')
    )
    stored.set(name, {
      entries: countKeys(rows, 'entries'),
      legs: countKeys(rows, 'legs'),
      values: rows.map(({ value }) => value)
    })
  }
  return stored
}

function countKeys (rows: readonly Row[], wanted: Row['table']): Map<string, number> {
  const counts = new Map<string, number>()
  for (const { table, key } of rows)
    if (table === wanted && key !== null) counts.set(key, (counts.get(key) ?? 0) + 1)
  return counts
}

/** Counts the connections of the application's logins. */
export async function countConnections (world: World): Promise<Connections> {
  const [row] = await ask<{ count: number }>(
    world.superUrl,
    `select count(*)::int as count from pg_stat_activity where usename like 'login\\_app\\_%'
      or usename like 'login\\_registry\\_%'`
  )
  const clients = await onRedis(
    world,
    async client =>
      String(await client.client('LIST')).split('\n').filter(line => line.includes('name=fastify-tenancy'))
        .length
  )
  return { postgres: row?.count ?? 0, redis: clients.reduce((all, count) => all + count, 0) }
}

/** Returns a sentence for each thing that is left after the processes have ended. */
export async function readLeft (world: World): Promise<string[]> {
  // A pooler keeps its backends, and none may be in a transaction.
  const isOpen = world.route === 'pgbouncer' ? "and state <> 'idle'" : ''
  const open = async (): Promise<string[]> =>
    (await ask<{ line: string }>(
      world.superUrl,
      `select format('a backend of %s is left: %s, %s', usename, state, query) as line from pg_stat_activity
        where (usename like 'login\\_app\\_%' or usename like 'login\\_registry\\_%') ${isOpen}`
    )).map(({ line }) => line)
  await until(async () => (await open()).length === 0, 10_000).catch(() => {})
  return open()
}
