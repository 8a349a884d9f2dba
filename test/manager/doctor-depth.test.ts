// Holes that are not visible in the object's own definition, each beside a harmless twin.
import t from 'tap'

import { serverVersion } from '../support/server-version.ts'
import { connect } from '../support/sql.ts'
import { freshDatabase } from '../support/fresh.ts'
import { runHoles } from './doctor-holes.ts'

const definer = 'create function act() returns int language sql security definer'
const plain = 'create role plain{suffix}; grant usage on schema public to plain{suffix}; ' +
  'alter function act() owner to plain{suffix}'
const gone = 'drop function act(); drop owned by plain{suffix}; drop role plain{suffix}'
const reader = 'create function inner_most() returns text language sql stable as $$ ' +
  "select current_setting('tenancy.tenant', true) $$"

function wrapper (name: string, body: string, volatility = 'immutable'): string {
  return `create function ${name}() returns text language sql ${volatility} as $$ select ${body} $$`
}

function cheap (cost: number): string {
  return `create function cheap(text) returns bool language plpgsql cost ${cost} as 'begin return true; end'`
}

t.test("CLI-06 a definer function that looks into its caller's temporary schema first is found", async t => {
  await runHoles(t, [
    {
      name: 'pg_temp first',
      finds: ['D204 function public.act()', 'D212 function public.act()'],
      plant: `${definer} set search_path = pg_temp, public as 'select 1'; ${plain}`,
      after: gone
    },
    {
      name: 'pg_temp in the middle',
      finds: ['D204 function public.act()', 'D212 function public.act()'],
      plant: `${definer} set search_path = pg_catalog, pg_temp, "$user" as 'select 1'; ${plain}`,
      after: gone
    },
    {
      name: 'no pg_temp, which the server then searches first',
      finds: ['D204 function public.act()', 'D212 function public.act()'],
      plant: `${definer} set search_path = public as 'select 1'; ${plain}`,
      after: gone
    },
    {
      name: "a trigger's function",
      finds: ['D205 trigger fire on public.notes', 'D212 function public.fire()'],
      plant: 'create function fire() returns trigger language plpgsql security definer ' +
        "set search_path = pg_temp, public as 'begin return new; end'; " +
        'create trigger fire before insert on notes for each row execute function fire()',
      after: 'drop function fire() cascade'
    },
    {
      name: 'pg_temp last is none',
      finds: ['D204 function public.act()'],
      plant: `${definer} set search_path = public, pg_temp as 'select 1'; ${plain}`,
      after: gone
    },
    {
      name: 'an empty path is none',
      finds: ['D204 function public.act()'],
      plant: `${definer} set search_path = '' as 'select 1'; ${plain}`,
      after: gone
    },
    {
      name: 'a function that no login of ours may call is none',
      finds: [],
      plant: `${definer} set search_path = pg_temp, public as 'select 1'; revoke execute on function act() ` +
        `from public; ${plain}`,
      mend: 'select 1',
      after: gone
    }
  ])
})

t.test('CLI-06 an IMMUTABLE function that reads a setting through others is found, at any depth', async t => {
  await runHoles(t, [
    {
      name: 'one function deep',
      finds: ['D207 function public.outer_most()'],
      plant: `${reader}; ${wrapper('outer_most', 'inner_most()')}`,
      after: 'drop function outer_most(); drop function inner_most()'
    },
    {
      name: 'three deep, and every second is honest',
      finds: ['D207 function public.outer_most()'],
      plant: `${reader}; ${wrapper('second', 'public.inner_most ()', 'stable')}; ${
        wrapper('"Third"', 'second()', 'volatile')
      }; ${wrapper('outer_most', '"Third"()')}`,
      after: 'drop function outer_most(); drop function "Third"(); drop function second(); ' +
        'drop function inner_most()'
    },
    {
      name: 'through PL/pgSQL that runs a text',
      finds: ['D207 function public.outer_most()'],
      plant:
        `${reader}; create function outer_most() returns text language plpgsql immutable as $$ declare ` +
        `found text; begin execute 'select inner_most()' into found; return found; end $$`,
      after: 'drop function outer_most(); drop function inner_most()'
    },
    {
      name: 'through a view',
      finds: ['D207 function public.outer_most()'],
      plant:
        `create view mine with (security_invoker = true) as select current_setting('tenancy.tenant', true) as
          tenant; ${wrapper('outer_most', '(select tenant from public.mine)')}`,
      after: 'drop function outer_most(); drop view mine'
    },
    {
      name: 'with a body of SQL',
      finds: ['D207 function public.outer_most()'],
      plant: `${reader}; create function outer_most() returns text immutable return inner_most()`,
      after: 'drop function outer_most(); drop function inner_most()'
    },
    {
      name: 'over functions that read nothing it is none',
      finds: [],
      plant: `create function inner_most() returns text language sql immutable as 'select ''x'''; ${
        wrapper('outer_most', 'inner_most()')
      }`,
      mend: 'drop function outer_most(); drop function inner_most()'
    },
    {
      name: 'a STABLE wrapper is none',
      finds: [],
      plant: `${reader}; ${wrapper('outer_most', 'inner_most()', 'stable')}`,
      mend: 'drop function outer_most(); drop function inner_most()'
    },
    {
      name: 'functions that call each other are no loop',
      finds: [],
      plant: 'create function ping() returns text language plpgsql immutable as $$ begin return pong(); ' +
        'end $$; create function pong() returns text language plpgsql immutable as $$ ' +
        'begin return ping(); end $$',
      mend: 'drop function ping(); drop function pong()'
    }
  ])
})

t.test('CLI-06 a function of row.functions that costs less than the tenant predicate is found', async t => {
  await runHoles(t, [
    {
      name: 'cheaper',
      finds: ['D213 function public.cheap(pg_catalog.text)'],
      plant: cheap(0.1),
      after: 'drop function cheap(text)'
    },
    {
      name: 'in a schema of its own',
      finds: ['D213 function app.pricey()'],
      plant: 'create schema app; create function app.pricey() returns bool ' +
        "language plpgsql cost 0.5 as 'begin return true; end'",
      after: 'drop schema app cascade'
    },
    {
      name: 'every form of it',
      finds: ['D213 function public.cheap(integer)', 'D213 function public.cheap(pg_catalog.text)'],
      plant: `${
        cheap(0.1)
      }; create function cheap(int) returns bool language plpgsql cost 0.9 as 'begin return true; end'`,
      after: 'drop function cheap(text); drop function cheap(int)'
    },
    {
      name: 'as dear as the predicate is none',
      finds: [],
      plant: cheap(1),
      mend: 'drop function cheap(text)'
    },
    {
      name: 'one that is not listed is none',
      finds: [],
      plant: "create function other(text) returns bool language plpgsql cost 0.1 as 'begin return true; end'",
      mend: 'drop function other(text)'
    },
    {
      name: 'one of the name elsewhere is none',
      finds: [],
      plant: 'create schema elsewhere; create function elsewhere.cheap(text) returns bool ' +
        "language plpgsql cost 0.1 as 'begin return true; end'",
      mend: 'drop schema elsewhere cascade'
    }
  ], { isolation: 'row', row: { functions: ['cheap', 'app.pricey'] } })
})

t.test("CLI-06 control: a cheap condition reads other tenants' rows before the predicate runs", async t => {
  const client = await connect(t, await freshDatabase(t))
  await client.query(
    "create table notes (tenant_id int, title text); insert into notes values (1, 'acme:1'), " +
      "(2, 'globex:1'); create table seen (title text)"
  )
  const run = async (cost: number): Promise<unknown[]> => {
    await client.query(
      `create or replace function peek(text) returns bool language plpgsql cost ${cost} as $$ begin ` +
        'insert into seen values ($1); return true; end $$; truncate seen'
    )
    await client.query('select from notes where tenant_id = $1 and peek(title)', [1])
    return (await client.query('select title from seen order by 1')).rows
  }
  t.same(await run(0.1), [{ title: 'acme:1' }, { title: 'globex:1' }])
  t.same(await run(100), [{ title: 'acme:1' }])
})

t.test('CLI-06 MAINTAIN on a table of tenants is found', {
  skip: serverVersion < 17 && 'the server has no MAINTAIN'
}, async t => {
  await runHoles(t, [
    {
      name: "of the role of tenants' statements",
      finds: ['D420 table public.notes'],
      plant: 'grant maintain on notes to {app}'
    },
    {
      name: 'of public, on a reference table',
      finds: ['D420 table public.countries'],
      plant: 'grant maintain on countries to public'
    },
    {
      name: 'on a partition',
      finds: ['D420 table public.events_1'],
      plant: 'grant maintain on events_1 to {login}'
    },
    {
      name: 'of the whole server',
      finds: ['D308 role pg_maintain of {app}'],
      plant: 'grant pg_maintain to {app}'
    },
    {
      name: 'of the owner is none',
      finds: [],
      plant: 'grant maintain on notes to {owner}, {system}',
      mend: 'revoke maintain on notes from {system}'
    }
  ])
})
