// Filtered lists of a registry with many tenants: each page is read from an index.
import type { TenantFilter, TenantRegistry } from '@fastify-tenancy/core'
import { postgresRegistry, tableRegistry } from '@fastify-tenancy/database'
import type { SqlClient } from '@fastify-tenancy/postgres/client'
import { init } from '@fastify-tenancy/postgres/install'
import t from 'tap'

import { freshDatabase } from '../support/fresh.ts'
import { connect } from '../support/sql.ts'

const url = await freshDatabase(t)
const client = await connect(t, url)
await init(client)
await client.query(`
  alter table tenancy.tenants disable trigger user;
  insert into tenancy.tenants (id, slug, name, status, plan, isolation, shard)
  select 'i-' || lpad(n::text, 6, '0'), 's-' || n, 'n', case when n % 4000 = 0 then 'suspended'
    else 'active' end,
    case when n % 5000 = 0 then 'pro' else 'free' end, case when n % 6000 = 0 then 'schema' else 'rls' end,
    case when n % 7000 = 0 then 'eu' else 'default' end
  from generate_series(1, 12000) n;
  alter table tenancy.tenants enable trigger user;
  create table organizations (id bigint primary key, subdomain text not null unique, tier text);
  insert into organizations select n, 'o-' || n, case when n % 5000 = 0 then 'pro' end
    from generate_series(1, 12000) n;
  create index on organizations (tier, id);
  analyze`)

/** Returns what a list yields, and the plan of each of its pages. */
async function listed (
  registry: (on: SqlClient) => TenantRegistry,
  filter: TenantFilter
): Promise<{ slugs: string[]; plans: string[] }> {
  const [slugs, plans]: [string[], string[]] = [[], []]
  const explaining = {
    async query (text: string, values: unknown[]) {
      const { rows } = await client.query<{ 'QUERY PLAN': string }>(`explain ${text}`, values)
      plans.push(rows.map(row => row['QUERY PLAN']).join('\n'))
      return client.query(text, values)
    }
  } as SqlClient
  for await (const { slug } of registry(explaining).list(filter)) slugs.push(slug)
  return { slugs, plans }
}

const filters: readonly (readonly [TenantFilter, number])[] = [
  [{}, 12_000],
  [{ status: ['suspended'] }, 3],
  [{ status: ['suspended', 'deleting'] }, 3],
  [{ status: ['active'] }, 11_997],
  [{ plan: 'pro' }, 2],
  [{ plan: 'free', status: ['suspended'] }, 3],
  [{ isolation: 'schema' }, 2],
  [{ shard: 'eu' }, 1],
  [{ shard: 'nowhere' }, 0]
]

for (const [filter, count] of filters) {
  t.test(`the registry's list by ${JSON.stringify(filter)} reads no page without an index`, async t => {
    const { slugs, plans } = await listed(on => postgresRegistry(on), filter)
    t.equal(slugs.length, count)
    for (const plan of plans) t.notMatch(plan, /Seq Scan on tenants/)
  })
}

const ownTable = (on: SqlClient): TenantRegistry =>
  tableRegistry({
    table: 'organizations',
    columns: { id: 'id', slug: 'subdomain', plan: 'tier' },
    client: on
  })

t.test('a table of the application is read by its indexes, page by page', async t => {
  const all = await listed(ownTable, {})
  t.equal(all.slugs.length, 12_000)
  t.same(all.slugs.slice(0, 3), ['o-1', 'o-2', 'o-3'])
  for (const plan of all.plans) t.match(plan, /Index Scan using organizations_pkey/)
  t.notMatch(all.plans.join(), /Sort/)
  const few = await listed(ownTable, { plan: 'pro' })
  t.equal(few.slugs.length, 2)
  t.match(few.plans[0], /organizations_tier_id_idx/)
  const free = await listed(ownTable, { plan: 'free' })
  t.equal(free.slugs.length, 11_998, 'a null in the column stands for the default')
  t.same((await listed(ownTable, { shard: 'eu' })).slugs, [])
})
