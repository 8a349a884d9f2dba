// A database full of hostile code, and a next tenant that looks at all that it can see.
import { createManager } from '@fastify-tenancy/manager'
import type { DatabaseRuntime, DatabaseConnectionOptions } from '@fastify-tenancy/database'
import assert from 'node:assert/strict'
import fc from 'fast-check'
import { sql, type Kysely, type RawBuilder } from 'kysely'
import pg from 'pg'
import type { Test } from 'tap'

import { handle, open, provision, type Provisioned } from '../../support/tenants.ts'
import { afterProtect, carriers, objects, tenantTables } from './carriers.ts'
import { commands } from './commands.ts'

type Db = Kysely<Record<string, Record<string, unknown>>>

export interface Case {
  readonly command: string
  readonly carrier: string
  readonly how: 'alone' | 'in a transaction' | 'rolled back' | 'in a savepoint' | 'beside others'
  readonly look: 'by the builder' | 'raw' | 'in a transaction' | 'drawing'
}

export const cases: fc.Arbitrary<Case> = fc.record({
  command: commands,
  carrier: fc.constantFrom(...Object.keys(carriers)),
  how: fc.constantFrom('alone', 'in a transaction', 'rolled back', 'in a savepoint', 'beside others'),
  look: fc.constantFrom('by the builder', 'raw', 'in a transaction', 'drawing')
})

/** One row: what a session shows that is the same on every clean connection of a tenant. */
const everything: RawBuilder<Record<string, unknown>> = sql`
  select (select count(*)::int from pg_class where relnamespace = pg_my_temp_schema()) as temporary,
    (select count(*)::int from pg_proc where pronamespace = pg_my_temp_schema()) as temporary_functions,
    coalesce(current_setting('app.mark', true), '') as mark, current_setting('tenancy.tenant', true) as
      tenant,
    (select json_object_agg(name, setting)::text from (
      select name, setting from pg_settings
      where name not in ('transaction_isolation', 'transaction_read_only', 'transaction_deferrable') and
        name !~ '^tenancy\\.'
      order by name) s) as settings,
    current_setting('transaction_read_only') as read_only, current_setting('transaction_isolation') as
      isolation,
    current_user::text as who, session_user::text as login, '2026-02-03'::date::text as date,
      '\\xde'::bytea::text as bytes,
    array(select pg_listening_channels()) as channels,
    array(select name from pg_prepared_statements where statement like '%planted%') as planted,
    (select count(*)::int from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()) as locks,
    array(select name from pg_cursors where is_holdable) as cursors`

const mark = 'globex:own'

export class Ground {
  readonly #on: Provisioned
  readonly #acme: Db
  readonly #globex: Db
  readonly #seeded: number
  #clean: unknown
  #count = 0

  private constructor (on: Provisioned, acme: Db, globex: Db, seeded: number) {
    this.#on = on
    this.#acme = acme
    this.#globex = globex
    this.#seeded = seeded
  }

  static async prepare (
    t: Test,
    options: Partial<DatabaseConnectionOptions>,
    reach: (url: string) => Promise<string> = async url => url
  ): Promise<Ground> {
    const bare = await provision(t)
    await bare.admin(objects)
    const on: Provisioned = {
      ...bare,
      tables: { tenant: ['notes', ...tenantTables], shared: ['countries', 'armed'] }
    }
    const manager = createManager({
      database: on.superUrl,
      tables: on.tables,
      rls: { secret: on.secret ?? '' }
    })
    t.teardown(() => manager.close())
    await manager.protect()
    await on.admin(
      "do $$ begin execute format('grant usage on sequence drawn to %I', (select rolname from " +
        "pg_roles where rolname like 'tenancy_app_%' and pg_has_role(current_database() || '_app', " +
        "oid, 'member'))); end $$"
    )
    await on.admin('select setseed(0.5)')
    const [row] = await on.admin<{ value: number }>('select random() as value')
    const database: DatabaseRuntime = await open(t, on, {
      ...options,
      url: await reach(on.url),
      pool: { max: 1 },
      lockTimeout: '2s'
    })
    // By hand, while the process runs: the boot refuses such a policy.
    await on.admin(afterProtect)
    const [acme, globex] = ['acme', 'globex'].map(id => handle(t, database, id).db as unknown as Db)
    const ground = new Ground(on, acme as Db, globex as Db, row?.value ?? Number.NaN)
    await ground.#globex.insertInto('notes').values({ body: mark }).execute()
    ground.#clean = (await everything.execute(ground.#globex)).rows
    return ground
  }

  /** Plays a case. @throws AssertionError when the next tenant sees something of it */
  async play ({ command, carrier, how, look }: Case): Promise<void> {
    this.#count++
    await this.#on.admin('update armed set command = $1', [command])
    await this.#on.admin(`insert into by_child_1 (tenant_id, n) values ('acme', 1)`)
    await this.#on.admin(`insert into parents values ('acme', 1) on conflict do nothing`)
    await this.#on.admin(`insert into cascaded values ('acme', 1); insert into nulled values ('acme', 1)`)
    const run = carriers[carrier]
    assert.ok(run)
    await this.#cause(run, how)
    await this.#look(look)
  }

  async #cause (run: (db: Db) => Promise<unknown>, how: Case['how']): Promise<void> {
    const acme = this.#acme
    if (how === 'alone') await run(acme).catch(() => {})
    else if (how === 'beside others') {
      await Promise.allSettled([run(acme), acme.selectFrom('notes').selectAll().execute(), run(acme)])
    } else {
      await acme.transaction().execute(async trx => {
        await trx.selectFrom('notes').select('id').execute()
        if (how === 'in a savepoint') {
          await sql.raw('select 1').execute(trx)
          await run(trx)
        } else await run(trx)
        if (how === 'rolled back') throw new Error('on purpose')
      }).catch(() => {})
    }
  }

  async #look (look: Case['look']): Promise<void> {
    const globex = this.#globex
    const own = await globex.selectFrom('notes').select(['id', 'body']).orderBy('id').execute()
    assert.deepEqual(own.map(({ body }) => body), [mark], 'own rows')
    if (look === 'by the builder') {
      const made = await globex.insertInto('notes').values({ body: 'globex:new' }).returning(['id', 'body'])
        .execute()
      assert.deepEqual(made.map(({ body }) => body), ['globex:new'])
      const [row] = await this.#on.admin<{ tenant_id: string }>(
        "select tenant_id from notes where body = 'globex:new'"
      )
      assert.equal(row?.tenant_id, 'globex', "a new row is the tenant's own")
      await globex.deleteFrom('notes').where('body', '=', 'globex:new').execute()
    } else if (look === 'drawing') {
      await assert.rejects(sql`select lastval()`.execute(globex), { code: '55000' }, 'lastval()')
      await assert.rejects(sql`select currval('drawn')`.execute(globex), { code: '55000' }, 'currval()')
      const { rows: [row] } = await sql<{ value: number }>`select random() as value`.execute(globex)
      assert.notEqual(row?.value, this.#seeded, 'random()')
    } else if (look === 'raw') {
      assert.deepEqual((await everything.execute(globex)).rows, this.#clean)
    } else {
      await globex.transaction().execute(async trx => {
        assert.deepEqual((await trx.selectFrom('notes').select('body').execute()).map(({ body }) => body), [
          mark
        ])
        assert.deepEqual((await everything.execute(trx)).rows, this.#clean)
      })
    }
  }

  get count (): number {
    return this.#count
  }

  /** Whether a command shows on a connection that nothing resets: the control of {@link play}. */
  async isSeen (command: string): Promise<boolean> {
    const client = new pg.Client({ connectionString: this.#on.superUrl })
    await client.connect()
    const { sql: text } = everything.compile(this.#globex)
    const ask = async (): Promise<string> => {
      const answers = [text, 'select lastval()', "select currval('drawn')"].map(question =>
        client.query(question).then(({ rows }) => rows, (error: { code: string }) => error.code)
      )
      return JSON.stringify(await Promise.all(answers))
    }
    try {
      // The first call of PL/pgSQL adds settings of its own to pg_settings.
      await client.query("select run('select 1')")
      const before = await ask()
      await client.query('select run($1)', [command]).catch(() => {})
      const isSeeded =
        (await client.query<{ value: number }>('select random() as value')).rows[0]?.value === this.#seeded
      return isSeeded || await ask() !== before
    } finally {
      await client.end()
    }
  }
}
