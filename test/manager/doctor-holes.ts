// Plants security holes, each with the one finding that the doctor must report.
import type { Test } from 'tap'

import { doctorWorld, type DoctorWorld } from './doctor-fixture.ts'
import type { ManagerOptions } from '@fastify-tenancy/manager'

export interface Hole {
  /** Describes the hole in a sentence. */
  readonly name: string
  /** All expected findings, errors first: `D101 table public.notes`. */
  readonly finds: readonly string[]
  /**
   * SQL that makes the hole. Names of roles are in braces: `{app}`, `{login}`, `{owner}`,
   * `{system}`, `{database}`.
   */
  readonly plant: string
  /** SQL that replaces the fix, if the fix is not SQL. */
  readonly mend?: string
  /** SQL that removes what the fix leaves. */
  readonly after?: string
}

/**
 * Plants the holes one after the other in one database. Each must be the only finding, so the
 * previous fix must have removed its own. After the last fix nothing is found.
 */
export async function runHoles (
  t: Test,
  holes: readonly Hole[],
  options: Partial<ManagerOptions> = {}
): Promise<void> {
  const on = await doctorWorld(t, options)
  await on.admin(fill(rowsOfTenants, on))
  for (const hole of [...holes, nothing])
    await t.test(hole.name, async t => {
      await runHole(t, on, hole)
    })
}

/**
 * Rows of two tenants, and a table without a tenant column whose foreign keys cascade deletes and
 * updates.
 */
const rowsOfTenants = `
  create table favourites (country text references countries on delete cascade, person int
    references people on delete set null);
  alter table favourites owner to {owner};
  insert into countries values ('de'), ('fr');
  insert into people (email) values ('a@example.com'), ('b@example.com');
  insert into favourites values ('de', 1), ('fr', 2);
  insert into notes (tenant_id, title) select gen_random_uuid(), 'note ' || n from generate_series(1, 3) n;
  insert into tasks (tenant_id, note_id, country) select tenant_id, id, 'de' from notes;
  insert into steps (task_tenant, task_id, n) select tenant_id, id, 1 from tasks`

/**
 * Every row of the application's tables, and every constraint, index, column and policy by name.
 */
async function contents (
  { admin }: DoctorWorld
): Promise<{ rows: Record<string, string>; parts: Record<string, string> }> {
  const application =
    "n.nspname !~ '^pg_' and n.nspname not in ('information_schema', 'tenancy', 'tenancy_ddl')"
  const { rows: tables } = await admin(
    `select format('%I.%I', n.nspname, c.relname) as name from pg_class c
      join pg_namespace n on n.oid = c.relnamespace
    where c.relkind in ('r', 'p') and ${application} order by 1`
  ) as { rows: { name: string }[] }
  const rows: Record<string, string> = {}
  for (const { name } of tables) {
    const { rows: [row] } = await admin(
      `select coalesce(json_agg(r order by r::text), '[]')::text as rows from ${name} r`
    ) as { rows: { rows: string }[] }
    rows[name] = row?.rows ?? ''
  }
  const { rows: parts } = await admin(`
    select k.conname || ' of ' || k.conrelid::regclass as name, pg_get_constraintdef(k.oid) || k.convalidated
    as definition
    from pg_constraint k join pg_namespace n on n.oid = k.connamespace
      where k.conrelid <> 0 and ${application}
    union all select c.relname || ' of ' || i.indrelid::regclass, pg_get_indexdef(c.oid)
    from pg_index i join pg_class c on c.oid = i.indexrelid join pg_namespace n on n.oid = c.relnamespace
      where ${application}
    union all select a.attname || ' of ' || c.oid::regclass, format_type(a.atttypid, a.atttypmod) ||
      a.attnotnull
      || coalesce((select pg_get_expr(adbin, adrelid) from pg_attrdef
        where adrelid = c.oid and adnum = a.attnum), '')
    from pg_attribute a join pg_class c on c.oid = a.attrelid join pg_namespace n on n.oid = c.relnamespace
    where a.attnum > 0 and not a.attisdropped and c.relkind in ('r', 'p') and ${application}`) as {
    rows: { name: string; definition: string }[]
  }
  return { rows, parts: Object.fromEntries(parts.map(({ name, definition }) => [name, definition])) }
}

const nothing: Hole = { name: 'nothing is left', finds: [], plant: 'select 1' }

async function runHole (t: Test, on: DoctorWorld, { finds, plant, mend, after }: Hole): Promise<void> {
  const filled = (text: string): string => fill(text, on)
  await on.admin(filled(plant))
  const findings = (await on.manager.doctor()).findings.filter(({ id }) => !always.includes(id))
  t.same(findings.map(({ id, object }) => `${id} ${object}`), finds.map(filled))
  for (const { id, object, fix, meaning } of findings) {
    t.match(meaning, /^\S.*[^.]$/, `${id}: one sentence`)
    if (mend !== undefined) continue
    if (fix.startsWith('-- fixed by the fix of ')) continue
    t.notMatch(fix, /^--/, `${id} ${object}: ${fix}`)
    const before = await contents(on)
    // With a list of values pg uses the extended protocol, which takes one statement at a time.
    for (const line of fix.split('\n')) if (!line.startsWith('--')) await on.admin(line, [])
    const after = await contents(on)
    t.same(after.rows, before.rows, `DAT-15 ${id} ${object}: no row is changed`)
    // A fix may change only the objects that it names.
    for (const [name, definition] of Object.entries(before.parts)) {
      if (!fix.includes(name.split(' of ')[0] ?? ''))
        t.equal(after.parts[name], definition, `DAT-15 ${id} ${object}: ${name}`)
    }
  }
  if (mend !== undefined) await on.admin(filled(mend))
  if (after !== undefined) await on.admin(filled(after))
}

/** Findings of every server that was not hardened. */
const always: readonly string[] = ['D415', 'D417', 'D418', 'D419', 'D422', 'D423', 'D424']

export function fill (
  text: string,
  { roles, app, superUrl }: Pick<DoctorWorld, 'roles' | 'app' | 'superUrl'>
): string {
  const values: Readonly<Record<string, string>> = {
    ...roles,
    login: app,
    database: new URL(superUrl).pathname.slice(1),
    suffix: roles.app.slice(-9)
  }
  return text.replaceAll(/\{(\w+)\}/g, (_, name: string) => values[name] ?? name)
}
