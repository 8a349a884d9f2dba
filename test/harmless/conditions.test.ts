// Each condition of a harmless statement by itself: a schema that violates it alone, beside its
// clean twin.
import type { Compilable } from 'kysely'
import t from 'tap'

import { server, statements, type Db } from './support.ts'

const { select, insert, update, delete: remove, part } = statements
const children = (db: Db): Compilable => db.selectFrom('children').selectAll()
const extra = (db: Db): Compilable => db.selectFrom('extra').selectAll()

interface Case {
  readonly sql: string
  /** What the violation makes touching. */
  readonly touching: readonly ((db: Db) => Compilable)[]
  /** What it does not reach. @default none */
  readonly harmless?: readonly ((db: Db) => Compilable)[]
}

const trigger = (table: string): string => `
  create function act () returns trigger language plpgsql as $$ begin perform evil(); return new; end $$;
  create trigger act before insert or update or delete on ${table} for each row execute function act();`

const cases: Readonly<Record<string, Case>> = {
  'a trigger': { sql: trigger('parents'), touching: [insert, update, remove], harmless: [select] },
  'CON-17: a trigger behind a cascade': {
    sql: trigger('children'),
    touching: [update, remove],
    harmless: [select, insert]
  },
  'CON-17: a trigger two cascades away': {
    sql: `create table grandchildren (id int, child_id int references children on update cascade); ${
      trigger('grandchildren')
    }`,
    touching: [update, remove],
    harmless: [select, insert]
  },
  'CON-17: a default behind ON DELETE SET DEFAULT': {
    sql: 'create table tied (parent_id int default length(evil()) references parents on delete set default)',
    touching: [update, remove],
    harmless: [select, insert]
  },
  'a trigger on a partition': { sql: trigger('parts_1'), touching: [part], harmless: [insert] },
  'a trigger on a child by inheritance': {
    sql: `create table heirs () inherits (parents); ${trigger('heirs')}`,
    touching: [update, remove],
    harmless: [select]
  },
  'a rule': {
    sql: 'create rule act as on insert to parents do also select evil()',
    touching: [select, insert]
  },
  'a policy': {
    sql: "alter table parents enable row level security; create policy act on parents using (evil() = 'x')",
    touching: [select, insert, update, remove]
  },
  'a policy that calls nothing': {
    sql: 'alter table parents enable row level security; create policy act on parents using (true)',
    touching: [select]
  },
  'a policy on a child by inheritance': {
    sql: 'create table heirs () inherits (parents); create policy act on heirs using (true)',
    touching: [select]
  },
  'CON-21: a default': {
    sql: 'alter table parents alter up drop expression, alter up set default evil()',
    touching: [insert, update],
    harmless: [select]
  },
  'CON-21: set_config in a default': {
    sql: "alter table parents add x text default set_config('a.b', 'c', false)",
    touching: [insert],
    harmless: [select]
  },
  'CON-21: a session lock in a default': {
    sql: 'alter table parents add x bool default pg_try_advisory_lock(1)',
    touching: [insert],
    harmless: [select]
  },
  'CON-21: a session lock in a check': {
    sql: 'alter table parents add check (n < 5 or pg_try_advisory_lock(1))',
    touching: [insert, update]
  },
  'CON-21: a check': {
    sql: "alter table parents add check (evil_of(name) = 'x')",
    touching: [insert, update]
  },
  'CON-21: a generated column': {
    sql: 'alter table parents add x text generated always as (evil_of(name)) stored',
    touching: [insert, update]
  },
  'a default of lastval()': { sql: 'alter table parents add x bigint default lastval()', touching: [insert] },
  'a default of random()': { sql: 'alter table parents add x float default random()', touching: [insert] },
  'an operator in a check': {
    sql: `create function lesser (varchar, varchar) returns bool language plpgsql immutable as $$ begin
        perform evil(); return true; end $$;
      create operator <<< (leftarg = varchar, rightarg = varchar, function = lesser);
      alter table parents add check (name <<< name)`,
    touching: [insert]
  },
  'an index expression': { sql: 'create index on parents (evil_of(name))', touching: [insert, select] },
  'an index predicate': {
    sql: "create index on parents (id) where evil_of(name) = 'x'",
    touching: [insert, update]
  },
  'a statistics expression': {
    sql: 'create statistics act on evil_of(name) from parents',
    touching: [select]
  },
  'a partition key': {
    sql: 'create table extra (id int, value text) partition by list (evil_of(value)); ' +
      'create table extra_1 partition of extra default',
    touching: [extra, db => db.insertInto('extra').values({ id: 1, value: 'x' })],
    harmless: [select]
  },
  'a domain': {
    sql: "create domain act as text check (evil_of(value) = 'x'); create table extra (id int, value act)",
    touching: [extra],
    harmless: [select]
  },
  'an array of a domain': {
    sql: 'create domain act as text; create table extra (id int, value act[])',
    touching: [extra]
  },
  'a domain in a composite type': {
    sql: 'create domain act as text; create type whole as (a int, b act); ' +
      'create table extra (id int, value whole)',
    touching: [extra]
  },
  'a domain in an array in a composite type in an array': {
    sql: 'create domain act as text; create type whole as (a int, b act[]); ' +
      'create table extra (id int, value whole[])',
    touching: [extra]
  },
  'a range over a type with a domain': {
    sql: 'create domain act as int; create type span as range (subtype = act, subtype_opclass = ' +
      'int4_ops); create table extra (id int, value span)',
    touching: [extra]
  },
  'a multirange over a domain': {
    sql: 'create domain act as int; create type span as range (subtype = act, subtype_opclass = ' +
      'int4_ops, multirange_type_name = spans); create table extra (id int, value spans)',
    touching: [extra]
  },
  "a range with a function of the user's": {
    sql: `create function difference (int, int) returns float language plpgsql immutable as $$ begin
        perform evil(); return 1; end $$;
      create type span as range (subtype = int, subtype_diff = difference);
      create table extra (id int, value span)`,
    touching: [extra]
  },
  'a cast': {
    sql: `create function to_mood (text) returns mood language plpgsql as $$ begin perform evil();
        return 'good'; end $$;
      create cast (text as mood) with function to_mood(text) as assignment`,
    touching: [select, insert],
    harmless: [part]
  },
  'a cast of rows': {
    sql: `create function to_text (parents) returns text language plpgsql as $$ begin perform evil();
        return 'x'; end $$;
      create cast (parents as text) with function to_text(parents) as implicit`,
    touching: [select],
    harmless: [part]
  },
  'an operator class': {
    sql: `create function compare (mood, mood) returns int language plpgsql immutable as $$ begin
        perform evil(); return 0; end $$;
      create function before (mood, mood) returns bool language plpgsql immutable as $$ begin return
        false; end $$;
      create operator <<< (leftarg = mood, rightarg = mood, function = before);
      create operator class act default for type mood using btree as operator 1 <<<, function 1
        compare(mood, mood)`,
    touching: [select],
    harmless: [part]
  },
  'CON-22: a function': {
    sql: 'create function lower (varchar) returns text language plpgsql as $$ begin perform evil(); ' +
      'return $1; end $$',
    touching: [db => db.selectFrom('parents').select(eb => eb.fn<string>('lower', ['name']).as('l')),
      db => db.selectFrom('parents').select(eb => eb.fn<string>('LOWER', ['name']).as('l'))],
    harmless: [select]
  },
  'CON-22: a function in SQL': {
    sql: "create function lower (varchar) returns text language sql as $$ select set_config('a.b', " +
      "'c', false) $$",
    touching: [db => db.selectFrom('parents').select(eb => eb.fn<string>('lower', ['name']).as('l'))]
  },
  'CON-22: a procedure of the name': {
    sql: 'create procedure lower (varchar) language plpgsql as $$ begin perform evil(); end $$',
    touching: [db => db.selectFrom('parents').select(eb => eb.fn<string>('lower', ['name']).as('l'))]
  },
  'CON-22: an operator': {
    sql: `create function equal (varchar, varchar) returns bool language plpgsql as $$ begin perform evil();
        return true; end $$;
      create operator = (leftarg = varchar, rightarg = varchar, function = equal)`,
    touching: [
      db => db.selectFrom('parents').select('id').where('name', '=', 'x'),
      db => db.selectFrom('parents').select('id').where('name', 'in', ['x']),
      db => db.selectFrom('parents').select('id').where('name', 'is distinct from', 'x'),
      db => db.selectFrom('parents').select(eb => eb.fn<string>('nullif', ['name', eb.val('x')]).as('n')),
      db => db.selectFrom('parents').select(eb => eb.case('name').when('x').then(1).end().as('c'))
    ],
    harmless: [select, db => db.selectFrom('parents').select('id').where('n', '>', 1)]
  },
  'CON-22: an operator behind LIKE': {
    sql: `create function alike (varchar, varchar) returns bool language plpgsql as $$ begin perform evil();
        return true; end $$;
      create operator ~~ (leftarg = varchar, rightarg = varchar, function = alike)`,
    touching: [db => db.selectFrom('parents').select('id').where('name', 'like', 'x')],
    harmless: [db => db.selectFrom('parents').select('id').where('name', 'ilike', 'x')]
  },
  'CON-22: an operator behind BETWEEN': {
    sql: `create function least_of (varchar, varchar) returns bool language plpgsql as $$ begin
        perform evil(); return true; end $$;
      create operator >= (leftarg = varchar, rightarg = varchar, function = least_of)`,
    touching: [db => db.selectFrom('parents').select('id').where(eb => eb.between('name', 'a', 'b'))]
  },
  'CON-22: an aggregate': {
    sql: `create function longer (text, varchar) returns text language plpgsql as $$ begin perform evil();
        return $2; end $$;
      create aggregate max (varchar) (sfunc = longer, stype = text)`,
    touching: [db => db.selectFrom('parents').select(eb => eb.fn.max('name').as('m'))],
    harmless: [db => db.selectFrom('parents').select(eb => eb.fn.min('name').as('m'))]
  },
  "CON-22: a domain of a function's name": {
    sql: "create domain lower as text check (evil_of(value) = 'x')",
    touching: [db => db.selectFrom('parents').select(eb => eb.fn<string>('lower', ['name']).as('l'))],
    harmless: [select]
  },
  "a table of another table's rule": {
    sql: 'create rule act as on update to children do also select evil()',
    touching: [db => db.selectFrom('children').selectAll(), remove],
    harmless: [select, insert]
  }
}

t.test('each condition by itself makes a statement touching, and its clean twin stays harmless', async t => {
  const on = await server(t)
  for (const [index, [name, { sql, touching, harmless = [] }]] of Object.entries(cases).entries()) {
    const clean = await on.schema(`clean_${index}`)
    const { db, isHarmless } = await on.schema(`case_${index}`, sql)
    for (const one of touching) {
      t.notOk(isHarmless(one(db)), `${name}: touching`)
      if (one !== extra)
        t.ok(
          clean.isHarmless(one(clean.db)) || name === 'a partition key',
          `${name}: control, harmless without it`
        )
    }
    for (const one of harmless) t.ok(isHarmless(one(db)), `${name}: what it does not reach is harmless`)
    await on.client.query(
      `set client_min_messages = error; drop schema case_${index} cascade; drop schema clean_${index} cascade`
    )
  }
})

t.test('CON-22: a function in a schema that is not on the path changes nothing', async t => {
  const on = await server(t)
  await on.client.query(
    'create schema other; create function other.lower (varchar) returns text language plpgsql as ' +
      '$$ begin return $1; end $$'
  )
  const { db, isHarmless } = await on.schema('own')
  t.ok(isHarmless(db.selectFrom('parents').select(eb => eb.fn<string>('lower', ['name']).as('l'))))
})

t.test("a cast between types of the server's own makes everything touching", async t => {
  const on = await server(t)
  const { db, isHarmless } = await on.schema(
    'own',
    `
    create function number_of (text) returns int language plpgsql as $$ begin perform own.evil();
    return 1; end $$;
    create cast (text as int) with function number_of(text) as implicit`
  )
  t.notOk(isHarmless(select(db)))
  await on.client.query('drop cast (text as int)')
  const again = await on.judge('own')
  t.ok(again.isHarmless(select(again.db)), 'control')
})

t.test('a policy that reads another table runs the policies of that table', async t => {
  const on = await server(t)
  await on.schema(
    'own',
    `
    alter table children enable row level security;
    create policy ours on children using (exists (select from parents where parents.id = parent_id));
    alter table parents enable row level security; create policy ours on parents using (true)`
  )
  const clean = await on.judge('own', ['ours'])
  t.ok(clean.isHarmless(children(clean.db)), 'control')
  await on.client.query("create policy act on own.parents using (own.evil() = 'x')")
  const touched = await on.judge('own', ['ours'])
  t.notOk(touched.isHarmless(children(touched.db)))
})
