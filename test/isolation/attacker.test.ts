// The table "What each withstands" of docs/strategies.md, cell by cell: the attacker's SQL is part
// of a statement of the application's.
import { tenantRole } from '@fastify-tenancy/core/keys'
import { sql, type RawBuilder } from 'kysely'
import t from 'tap'

import { secret } from '../strategies/strategy-fixture.ts'
import { place, type Place, type PlaceOptions, type PlaceTenant } from './matrix/place.ts'

/**
 * `own`: the attacker's own rows or none; `leak`: the other tenant's; `error`: an error, whose code
 * is told.
 */
type Outcome = 'own' | 'leak' | `error ${string}`

const strategies = {
  'rls signed': { rls: { secret } },
  'rls plain': {},
  'rls role': { rls: { context: 'role' } },
  'rls role signed': { rls: { context: 'role', secret } },
  schema: { isolation: 'schema' },
  database: { isolation: 'database' }
} satisfies Record<string, PlaceOptions>

type Strategy = keyof typeof strategies

interface Target {
  readonly strategy: Strategy
  /** The attacked tenant's id, role and table. */
  readonly id: string
  readonly role: string
  readonly table: string
}

const readAll = sql`query_to_xml('select body from notes', true, true, '')::text as xml`

const attacks: Readonly<
  Record<
    string,
    {
      readonly statement: (target: Target) => RawBuilder<unknown>
      readonly outcomes: Readonly<Record<Strategy, Outcome>>
    }
  >
> = {
  'a query that forgets its tenant': {
    statement: () => sql`select * from notes`,
    outcomes: {
      'rls signed': 'own',
      'rls plain': 'own',
      'rls role': 'own',
      'rls role signed': 'own',
      schema: 'own',
      database: 'own'
    }
  },
  'a second statement behind a semicolon': {
    statement: () => sql.raw('select body from notes; select body from notes'),
    outcomes: {
      'rls signed': 'error 42601',
      'rls plain': 'error 42601',
      'rls role': 'error 42601',
      'rls role signed': 'error 42601',
      schema: 'error 42601',
      database: 'error 42601'
    }
  },
  "the attacker sets the tenant's setting": {
    statement: ({ id }) => sql`select set_config('tenancy.tenant', ${id}, true), ${readAll}`,
    outcomes: {
      'rls signed': 'own',
      'rls plain': 'leak',
      'rls role': 'error TN401',
      'rls role signed': 'error TN401',
      schema: 'own',
      database: 'own'
    }
  },
  "the attacker takes another tenant's role, and its setting": {
    statement: ({ id, role }) =>
      sql`select set_config('tenancy.tenant', ${id}, true), set_config('role', ${role}, true), ${readAll}`,
    // Where tenants have no roles, there is none of that name.
    outcomes: {
      'rls signed': 'error 22023',
      'rls plain': 'error 22023',
      'rls role': 'leak',
      'rls role signed': 'own',
      schema: 'error 42P01',
      database: 'error 42501'
    }
  },
  "the attacker takes another tenant's role, and names its table": {
    statement: ({ role, table }) =>
      sql`select set_config('role', ${role}, true), query_to_xml(${`select body from ${table}`}, true,
        true, '')::text as xml`,
    outcomes: {
      'rls signed': 'error 22023',
      'rls plain': 'error 22023',
      'rls role': 'error TN401',
      'rls role signed': 'error TN401',
      schema: 'leak',
      database: 'error 42501'
    }
  },
  "the attacker names another tenant's table": {
    statement: ({ table }) => sql.raw(`select * from ${table}`),
    outcomes: {
      'rls signed': 'own',
      'rls plain': 'own',
      'rls role': 'own',
      'rls role signed': 'own',
      schema: 'error 42501',
      database: 'error 0A000'
    }
  },
  "the attacker takes a superuser's role": {
    statement: () => sql`select set_config('role', 'postgres', true), ${readAll}`,
    outcomes: {
      'rls signed': 'error 42501',
      'rls plain': 'error 42501',
      'rls role': 'error 42501',
      'rls role signed': 'error 42501',
      schema: 'error 42501',
      database: 'error 42501'
    }
  },
  'the attacker takes no role': {
    statement: () => sql`select set_config('role', 'none', true), ${readAll}`,
    // A login without a role finds no table in the schema; that of a tenant's database is the
    // tenant's.
    outcomes: {
      'rls signed': 'error 42501',
      'rls plain': 'error 42501',
      'rls role': 'error 42501',
      'rls role signed': 'error 42501',
      schema: 'error 42P01',
      database: 'own'
    }
  }
}

/** What an attack of one tenant on the other comes to. */
async function outcome (
  { request }: PlaceTenant,
  other: PlaceTenant,
  statement: RawBuilder<unknown>
): Promise<Outcome> {
  try {
    const { rows } = await statement.execute(request().db)
    return JSON.stringify(rows).includes(`${other.name}:`) ? 'leak' : 'own'
  } catch (error) {
    return `error ${(error as { code: string }).code}`
  }
}

function targetOf (strategy: Strategy, { databaseName }: Place, { id }: PlaceTenant): Target {
  const role = strategy === 'database' ? `tenant_${id}` : tenantRole(id, databaseName)
  const table = strategy === 'schema'
    ? `tenant_${id}.notes`
    : strategy === 'database'
    ? `"tenant_${id}".public.notes`
    : 'public.notes'
  return { strategy, id, role, table }
}

for (const [strategy, options] of Object.entries(strategies) as [Strategy, PlaceOptions][]) {
  t.test(`INJ-01 INJ-20 ${strategy}: each attack has the result that the guide states`, async t => {
    const attacked = await place(t, options)
    const [acme, globex] = attacked.tenants
    const target = targetOf(strategy, attacked, globex)
    for (const [name, { statement, outcomes }] of Object.entries(attacks)) {
      t.equal(await outcome(acme, globex, statement(target)), outcomes[strategy], name)
      for (const tenant of [globex, acme]) {
        const rows = await tenant.request().db.selectFrom('notes').select('body').orderBy('n').execute()
        t.same(rows.map(({ body }) => body), [1, 2, 3].map(n => `${tenant.name}:${n}`), `${name}, afterwards`)
      }
    }
  })
}
