// Three tenants whose rows look alike: ids and values overlap, so that a join or a filter that
// misses the tenant finds others' rows.
import type { RowTables } from '../../../packages/database/src/rewrite/tables.ts'

export type Type = 'int' | 'text'

/** What a random query may read from: a name and the columns by type. */
export interface Relation {
  readonly alias: string
  readonly int: readonly string[]
  readonly text: readonly string[]
}

export const tenants = ['00000000-0000-4000-8000-00000000000a', '00000000-0000-4000-8000-00000000000b',
  '00000000-0000-4000-8000-00000000000c'] as const

export const columns: Readonly<Record<string, Omit<Relation, 'alias'>>> = {
  notes: { int: ['id', 'n', 'parent'], text: ['title'] },
  tags: { int: ['id', 'note_id'], text: ['label'] },
  items: { int: ['id', 'qty'], text: ['sku'] },
  countries: { int: ['population'], text: ['code'] }
}

/** The tables that belong to tenants, with the names of their tenant columns. */
export const tenantColumns: Readonly<Record<string, string>> = {
  notes: 'tenant_id',
  tags: 'tenant_id',
  items: 'org_id'
}

export const rowTables: RowTables = {
  schema: 'public',
  tenant: new Map([
    ['notes', { name: 'notes', column: 'tenant_id', type: 'text' }],
    ['tags', { name: 'tags', column: 'tenant_id', type: 'text' }],
    ['items', { name: 'items', column: 'org_id', type: 'uuid' }]
  ]),
  shared: new Set(['countries'])
}

const tenant = "nullif(current_setting('tenancy.tenant', true), '')"

/** The tables, forced policies on them, a role that they bind, and rows. */
export function schemaSql (role: string): string {
  return `
    create table notes (tenant_id text not null default ${tenant}, id int not null default 1000, n int,
      parent int, title text, primary key (tenant_id, id));
    create table tags (tenant_id text not null default ${tenant}, id int not null default 1000, note_id
      int, label text, primary key (tenant_id, id));
    create table items (org_id uuid not null default ${tenant}::uuid, id int not null default 1000, qty
      int, sku text, primary key (org_id, id));
    create table countries (code text primary key, population int);
    insert into countries select 'c' || i, i % 4 from generate_series(1, 5) i;
    insert into notes select t, i, (i * 7 + length(t)) % 5, nullif(i / 2, 0), 't' || (i % 4) from
      unnest(array['${tenants.join("','")}']) t, generate_series(1, 9) i;
    insert into tags select t, i, i % 6, 'l' || (i % 3) from unnest(array['${
    tenants.join("','")
  }']) t, generate_series(1, 8) i;
    insert into items select t::uuid, i, i % 4, 's' || (i % 3) from unnest(array['${
    tenants.join("','")
  }']) t, generate_series(1, 7) i;
    update notes set n = n + 1 where tenant_id = '${tenants[1]}';
    update notes set title = title || 'b' where tenant_id = '${tenants[1]}';
    update tags set label = label || 'c' where tenant_id = '${tenants[2]}';
    delete from items where org_id = '${tenants[0]}' and id > 5;
    create role ${role};
    grant usage on schema public to ${role};
    grant select on countries to ${role};
    ${
    Object.entries(tenantColumns).map(([table, column]) => `
      grant select, insert, update, delete on ${table} to ${role};
      alter table ${table} enable row level security, force row level security;
      create policy tenant on ${table} using (${column} = ${tenant}${column === 'org_id' ? '::uuid' : ''});`)
      .join('')
  }
    analyze`
}
