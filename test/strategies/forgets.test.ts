// Session state that a trigger of one tenant leaves, and that the next tenant's default reads. Only
// the query builder is used, so this applies to every strategy.
import type { TenantRecord } from '@fastify-tenancy/core'
import type { DatabaseConnectionOptions } from '@fastify-tenancy/database'
import type { Kysely } from 'kysely'
import t from 'tap'

import { noPgBouncer, pgBouncer } from '../support/pgbouncer.ts'
import { secret, world, type Handle, type World, type WorldOptions } from './strategy-fixture.ts'

t.setTimeout(120_000)

interface Acting {
  projects: { name: string; seen: string }
}

const functions = `
  create function public.act () returns void language plpgsql as $$ begin
    perform set_config('app.mark', 'left', false), set_config('TimeZone', 'Asia/Tokyo', false),
      set_config('work_mem', '64kB', false), pg_advisory_lock(5);
    execute 'listen left_behind'; execute 'prepare left_behind as select 1';
    execute 'create temporary table if not exists left_behind (a int)'; end $$;
  create function public.look () returns text language sql as $$
    select json_build_array(coalesce(current_setting('app.mark', true), ''), current_setting('TimeZone'),
    current_setting('work_mem'),
    (select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()),
      (select json_agg(c) from pg_listening_channels() c),
    (select count(*) from pg_prepared_statements where name = 'left_behind'), (select count(*) from pg_class
      where relnamespace = pg_my_temp_schema()))::text $$;
  create function public.on_project () returns trigger language plpgsql as $$ begin
    if new.name like 'act%' then perform public.act(); end if;
    if new.name = 'act and fail' then raise exception 'after' using errcode = 'P0042'; end if;
    return new; end $$`
const acting = (schema: string): string => `
  alter table ${schema}.projects add column seen text not null default public.look();
  create trigger acting before insert on ${schema}.projects for each row execute function public.on_project()`

async function prepare (on: World, isolation: string): Promise<[TenantRecord, TenantRecord]> {
  await on.admin(functions)
  if (isolation !== 'schema') await on.admin(acting('public'))
  const tenants = [await on.create('acme'), await on.create('globex')] as [TenantRecord, TenantRecord]
  if (isolation === 'schema') { for (const { id } of tenants) await on.admin(acting(`tenant_${id}`)) }
  return tenants
}

const strategies: Record<string, WorldOptions> = {
  'rls, plain': {},
  'rls, signed': { rls: { secret } },
  'rls, a role per tenant': { rls: { context: 'role' } },
  row: { isolation: 'row' },
  schema: { isolation: 'schema' }
}

const add = async ({ db }: Handle, name: string): Promise<string | undefined> =>
  (await (db as unknown as Kysely<Acting>).insertInto('projects').values({ name } as never).returning('seen')
    .executeTakeFirst())?.seen

for (const [strategy, options] of Object.entries(strategies)) {
  t.test(`CON-03 CON-21 ${strategy}: state left by a trigger does not reach the next tenant`, async t => {
    const on = await world(t, options)
    const tenants = await prepare(on, options.isolation ?? 'rls')
    const urls = {
      direct: on.url,
      ...(!noPgBouncer && { pooled: await pgBouncer(t, on.url, 'transaction', { size: 1 }) })
    }
    for (const [way, url] of Object.entries(urls)) {
      for (const reset of ['auto', 'always'] as const) {
        const database = await on.open({ url, reset, pool: { max: 1 } } as Partial<DatabaseConnectionOptions>)
        const [acme, globex] = tenants.map(tenant => on.handle(database, tenant)) as [Handle, Handle]
        const clean = await add(globex, 'look')
        await add(acme, 'act')
        t.equal(await add(globex, 'look'), clean, `${way}, reset '${reset}'`)
        await t.rejects(add(acme, 'act and fail'), { code: 'P0042' })
        t.equal(await add(globex, 'look'), clean, 'after a statement that failed')
        await acme.db.transaction().execute(async db => {
          await add({ ...acme, db }, 'act')
        })
        await globex.db.transaction().execute(async db => {
          t.equal(await add({ ...globex, db }, 'look'), clean, 'from transaction to transaction')
        })
        await acme.db.transaction().execute(async db => {
          await add({ ...acme, db }, 'act')
          t.not(
            await add({ ...acme, db }, 'look'),
            clean,
            'control: the default sees what the trigger leaves'
          )
        })
        t.equal(await add(globex, 'look'), clean)
      }
    }
  })
}
