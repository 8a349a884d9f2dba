// A process of the application that caches its tenants for an hour and gets no change. Started by
// fork() with its options as JSON. Each message `{ write: <slug> }` inserts a row as that tenant;
// the answer is the result.
import { postgresRegistry, type TenantDatabaseOptions } from '@fastify-tenancy/database'
import { createTenancy } from 'fastify-tenancy'
import type { Kysely } from 'kysely'
import pg from 'pg'

const { registryUrl, ...options } = JSON.parse(process.argv[2] ?? '') as TenantDatabaseOptions & {
  registryUrl: string
}
const pool = new pg.Pool({ connectionString: registryUrl })
const tenancy = await createTenancy({
  ...options,
  baseDomain: 'example.com',
  registry: postgresRegistry(pool),
  resolver: { cache: { ttl: '1h', localTtl: '1h' } }
})
let id = 0

process.on('message', async ({ write: slug }: { write: string }) => {
  const reads = tenancy.health().resolver.registryReads
  const code = await tenancy.run({ slug }, async ({ db }) => {
    await (db as unknown as Kysely<{ projects: { id: number } }>).insertInto('projects').values({
      id: process.pid * 1_000 + id++
    }).execute()
  }).then(() => 'written', (error: { code?: string }) => error.code)
  process.send?.({ code, asked: tenancy.health().resolver.registryReads > reads })
})
process.send?.('ready')
