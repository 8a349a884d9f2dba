// The tables of the application, and what stands in them in the end.
import type { Generated } from 'kysely'

/** Tables as the application sees them. */
export interface ChaosTables {
  /** A row for each write. Nothing is unique, so that a write that is made twice shows. */
  entries: { id: Generated<number>; key: string; value: string }
  /** Two rows for each transfer. */
  legs: { id: Generated<number>; key: string; side: string; value: string }
  /** One row of each tenant: its last transfer. */
  marks: { id: number; value: string }
}

export const tenantTables = ['entries', 'legs', 'marks']

/** DDL of the tables, with the tenant column or without it. */
export function ddl (isShared: boolean): string {
  const [column, key] = isShared ? ['tenant_id text not null, ', 'tenant_id, '] : ['', '']
  return `
    create table entries (${column}id bigint generated always as identity, key text not null,
      value text not null, primary key (${key}id));
    create table legs (${column}id bigint generated always as identity, key text not null,
      side text not null, value text not null, primary key (${key}id));
    create table marks (${column}id int not null, value text not null, primary key (${key}id))`
}
