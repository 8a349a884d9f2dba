// The same five tasks, written by hand and through the suite.
import type { TenantRecord } from '@fastify-tenancy/core'
import { TenantScope } from '@fastify-tenancy/core/scope'
import type { DatabaseRuntime } from '@fastify-tenancy/database'
import { Kysely, PostgresDialect } from 'kysely'
import type pg from 'pg'

import { rowsPerTenant, tenants, type Tables } from './postgres.ts'

export interface Work {
  /** One row by its key. */
  one(): Promise<unknown>
  /** A page of twenty rows. */
  list(): Promise<unknown>
  insert(): Promise<unknown>
  update(): Promise<unknown>
  /** Three reads and two updates, together. */
  transaction(): Promise<unknown>
}

const texts = {
  one: 'select "id", "title", "n" from "bare_items" where "tenant_id" = $1 and "id" = $2',
  list:
    'select "id", "title", "n" from "bare_items" where "tenant_id" = $1 and "id" > $2 order by "id" limit 20',
  insert: 'insert into "bare_items" ("tenant_id", "title") values ($1, $2) returning "id"',
  update: 'update "bare_items" set "n" = "n" + 1 where "tenant_id" = $1 and "id" = $2'
}

const silent = { info () {}, warn () {}, error () {} }
const someTenant = (): TenantRecord => tenants[Math.floor(Math.random() * tenants.length)] as TenantRecord
const someId = (): number => 1 + Math.floor(Math.random() * (rowsPerTenant - 20))

/** The tasks as a careful team writes them with `pg`, on tables without policies. */
export function byHand (pool: pg.Pool, isNamed: boolean): Work {
  const send = (
    on: pg.Pool | pg.PoolClient,
    what: keyof typeof texts,
    ...values: unknown[]
  ): Promise<unknown> =>
    on.query(isNamed ? { name: what, text: texts[what], values } : { text: texts[what], values })
  return {
    one: () => send(pool, 'one', someTenant().id, someId()),
    list: () => send(pool, 'list', someTenant().id, someId()),
    insert: () => send(pool, 'insert', someTenant().id, 'a new one'),
    update: () => send(pool, 'update', someTenant().id, someId()),
    async transaction () {
      const { id } = someTenant()
      const client = await pool.connect()
      try {
        await client.query('begin')
        for (const what of ['one', 'update', 'one', 'update', 'list'] as const)
          await send(client, what, id, someId())
        await client.query('commit')
      } catch (error) {
        await client.query('rollback')
        throw error
      } finally {
        client.release()
      }
    }
  }
}

/** The tasks as a careful team writes them with Kysely, on tables without policies. */
export function byHandKysely (pool: pg.Pool): Work {
  const shared = new Kysely<Tables>({ dialect: new PostgresDialect({ pool }) })
  return {
    one: () => one(shared, 'bare_items', someTenant().id),
    list: () => list(shared, 'bare_items', someTenant().id),
    insert: () => insert(shared, 'bare_items', someTenant().id),
    update: () => update(shared, 'bare_items', someTenant().id),
    transaction: () => transaction(shared, 'bare_items', someTenant().id)
  }
}

/** One request for each task: opens a scope, gets its Kysely, works, ends the scope. */
export function bySuite (database: DatabaseRuntime, table: keyof Tables = 'items'): Work {
  const request = (work: (db: Kysely<Tables>) => Promise<unknown>) => async (): Promise<void> => {
    const scope = new TenantScope(someTenant(), silent)
    await work(database.forScope(scope) as unknown as Kysely<Tables>)
    scope.end()
  }
  return {
    one: request(db => one(db, table)),
    list: request(db => list(db, table)),
    insert: request(db => insert(db, table)),
    update: request(db => update(db, table)),
    transaction: request(db => transaction(db, table))
  }
}

// `tenant` is set only where neither a policy nor rewriting adds it.
function one (db: Kysely<Tables>, table: keyof Tables, tenant?: string): Promise<unknown> {
  return db.selectFrom(table).select(['id', 'title', 'n']).$if(
    tenant !== undefined,
    query => query.where('tenant_id', '=', tenant ?? '')
  ).where('id', '=', someId()).executeTakeFirst()
}

function list (db: Kysely<Tables>, table: keyof Tables, tenant?: string): Promise<unknown> {
  return db.selectFrom(table).select(['id', 'title', 'n']).$if(
    tenant !== undefined,
    query => query.where('tenant_id', '=', tenant ?? '')
  ).where('id', '>', someId()).orderBy('id').limit(20).execute()
}

function insert (db: Kysely<Tables>, table: keyof Tables, tenant?: string): Promise<unknown> {
  return db.insertInto(table).values({
    title: 'a new one',
    ...(tenant !== undefined && { tenant_id: tenant })
  }).returning('id').executeTakeFirst()
}

function update (db: Kysely<Tables>, table: keyof Tables, tenant?: string): Promise<unknown> {
  return db.updateTable(table).set(({ eb }) => ({ n: eb('n', '+', 1) })).$if(
    tenant !== undefined,
    query => query.where('tenant_id', '=', tenant ?? '')
  ).where('id', '=', someId()).executeTakeFirst()
}

function transaction (db: Kysely<Tables>, table: keyof Tables, tenant?: string): Promise<unknown> {
  return db.transaction().execute(async trx => {
    for (const step of [one, update, one, update, list]) await step(trx, table, tenant)
  })
}
