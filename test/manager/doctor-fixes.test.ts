// Applies a fix of the doctor to a database with data: the finding is gone, and nothing else is
// lost or broken.
import t, { type Test } from 'tap'

import { onePerLine } from '../../packages/postgres/src/doctor/one-per-line.ts'
import { doctorWorld, type DoctorWorld } from './doctor-fixture.ts'

const [acme, globex] = ['00000000-0000-4000-8000-00000000000a', '00000000-0000-4000-8000-00000000000b']

const fill = `
  insert into countries values ('de'), ('fr');
  insert into people (email) values ('a@example.com'), ('b@example.com');
  insert into notes (tenant_id, title) select tenant::uuid, tenant || ':' || n
    from unnest(array['${acme}', '${globex}']) tenant, generate_series(1, 3) n;
  insert into tasks (tenant_id, note_id, country) select tenant_id, id, 'de' from notes;
  insert into events values ('${acme}', 1, 'x'), ('${globex}', 2, 'y')`

/** Every row, constraint and index of the tables, with the actions of foreign keys, as text. */
async function everything (on: DoctorWorld): Promise<{ rows: unknown; constraints: Map<string, string> }> {
  const tables = ['countries', 'people', 'notes', 'tasks', 'events', 'steps']
  const rows = []
  for (const table of tables)
    rows.push(
      (await on.admin(`select coalesce(json_agg(r order by r::text), '[]')::text as rows from ${table} r`))
        .rows
    )
  const { rows: found } = await on.admin(`
    select conrelid::regclass || '.' || conname as name, pg_get_constraintdef(oid) || ' ' || convalidated as
    definition
    from pg_constraint where connamespace = 'public'::regnamespace and conparentid = 0
    union all select indexrelid::regclass::text, pg_get_indexdef(indexrelid) from pg_index i
      join pg_class c on c.oid = indexrelid
    where relnamespace = 'public'::regnamespace and not exists (select from pg_constraint
      where conindid = indexrelid)`) as {
    rows: { name: string; definition: string }[]
  }
  return { rows, constraints: new Map(found.map(({ name, definition }) => [name, definition])) }
}

interface Case {
  readonly name: string
  readonly plant: string
  /** The checks that must be found. Their fixes are applied line by line, in this order. */
  readonly finds: readonly string[]
  /**
   * Names of the constraints and indexes that the fix changes, with the result. All others must
   * stay.
   */
  readonly changes: Readonly<Record<string, RegExp>>
}

async function check (t: Test, { plant, finds, changes }: Case): Promise<void> {
  const on = await doctorWorld(t)
  await on.admin(fill)
  await on.admin(plant)
  const before = await everything(on)
  for (const id of finds) {
    const finding = (await on.manager.doctor()).findings.find(found => found.id === id)
    t.ok(finding, id)
    for (const line of finding?.fix.split('\n') ?? []) if (!line.startsWith('--')) await on.admin(line)
  }
  const left = (await on.manager.doctor()).findings.filter(({ id }) => finds.includes(id))
  t.same(left, [], 'the findings are gone')
  const after = await everything(on)
  t.same(after.rows, before.rows, 'no row was changed')
  for (const [name, definition] of before.constraints) {
    if (changes[name] === undefined) t.equal(after.constraints.get(name), definition, name)
    else t.match(after.constraints.get(name), changes[name], name)
  }
}

const cases: readonly Case[] = [
  {
    name: 'SET NULL keeps the tenant column out of its action',
    plant: `alter table notes add constraint by_id unique (id);
      alter table tasks drop constraint tasks_tenant_id_note_id_fkey;
      alter table tasks add constraint to_note foreign key (note_id) references notes (id) on delete
        set null deferrable`,
    finds: ['D125', 'D123'],
    changes: {
      'tasks.to_note': new RegExp(
        String.raw`^FOREIGN KEY \(tenant_id, note_id\) REFERENCES notes\(tenant_id, id\) ON DELETE SET ` +
          String.raw`NULL \(note_id\) DEFERRABLE true$`
      ),
      'notes.by_id': /^UNIQUE \(tenant_id, id\)/
    }
  },
  {
    name: 'a unique index keeps its expression, its predicate and its name',
    plant:
      "create unique index by_title on notes using btree (lower(title) desc) include (id) where title <> ''",
    finds: ['D122'],
    changes: {
      by_title: new RegExp(
        String.raw`^CREATE UNIQUE INDEX by_title ON public\.notes USING btree \(tenant_id, ` +
          String.raw`lower\(title\) DESC\) INCLUDE \(id\) WHERE`
      )
    }
  },
  {
    name: 'a primary key that a foreign key uses is not dropped with it',
    plant: `alter table tasks drop constraint tasks_tenant_id_note_id_fkey;
      alter table notes drop constraint notes_pkey, add primary key (id);
      alter table tasks add constraint to_note foreign key (note_id) references notes on delete cascade`,
    finds: ['D125', 'D123'],
    changes: {
      'tasks.to_note':
        /^FOREIGN KEY \(tenant_id, note_id\) REFERENCES notes\(tenant_id, id\) ON DELETE CASCADE/,
      'notes.notes_pkey': /^PRIMARY KEY \(tenant_id, id\)/
    }
  }
]

t.jobs = 3
for (const one of cases) t.test(`DAT-15 ${one.name}`, { buffered: true }, t => check(t, one))

t.test('DAT-15 a key that a table without tenant column references is kept, with a reason', async t => {
  const on = await doctorWorld(t)
  await on.admin(fill)
  await on.admin(`alter table notes add constraint by_id unique (id);
    alter table people add column note int, add constraint favourite foreign key (note)
      references notes (id) on delete set null;
    update people set note = 1`)
  const finding = (await on.manager.doctor()).findings.find(({ id }) => id === 'D123')
  t.match(
    finding?.fix,
    /^-- foreign key favourite of (public\.)?people, which has no tenant column, refers to this key/
  )
  t.notMatch(finding?.fix, /\n/)
})

t.test('DAT-15 a fix that the data does not allow fails as a whole, and loses no constraint', async t => {
  const on = await doctorWorld(t)
  await on.admin(fill)
  await on.admin(`alter table notes add constraint by_id unique (id);
    alter table tasks drop constraint tasks_tenant_id_note_id_fkey;
    alter table tasks add constraint to_note foreign key (note_id) references notes (id);
    update tasks set note_id = (select min(id) from notes where tenant_id = '${globex}')
      where tenant_id = '${acme}'`)
  const before = await everything(on)
  for (const id of ['D124', 'D123']) {
    const finding = (await on.manager.doctor()).findings.find(found => found.id === id)
    for (const line of finding?.fix.split('\n').filter(line => !line.startsWith('--')) ?? []) {
      await t.rejects(on.admin(line), { code: /23503|2BP01/ }, line)
    }
  }
  const after = await everything(on)
  t.same(after.rows, before.rows)
  t.same(after.constraints, before.constraints)
})

t.test('DAT-15 an update action that would clear the tenant column gets no statement', async t => {
  const on = await doctorWorld(t)
  await on.admin(`alter table notes add constraint by_id unique (id);
    alter table tasks add constraint to_note foreign key (note_id) references notes (id) on update set null`)
  t.match(
    (await on.manager.doctor()).findings.find(({ id }) => id === 'D125')?.fix,
    /^-- ON UPDATE SET NULL or SET DEFAULT would act/
  )
})

t.test('a fix has one statement a line, whatever its texts hold', async t => {
  for (
    const [sql, lines] of [
      ['drop index a; create index b on c (d)', 2],
      ['alter table "a; b" add check (x <> \'y; z\'); select 1', 2],
      ['do $x$ begin a; b; end $x$; select 1', 2],
      ['-- first a; then b', 1],
      ['alter table a add unique (b); -- after the fixes of c; d', 1]
    ] as const
  ) t.equal(onePerLine(sql).split('\n').length, lines, sql)
})
