// A database as `init` and `protect` leave it, with a login for each use. The doctor finds nothing
// in it until a test plants a hole.
import { createManager, type DoctorReport, type Manager, type ManagerOptions } from '@fastify-tenancy/manager'
import { rolesOf, type Roles } from '@fastify-tenancy/postgres/roles'
import type pg from 'pg'
import type { Test } from 'tap'

import { freshDatabase } from '../support/fresh.ts'
import { connect, databaseOf, loginOf, loginUrl } from '../support/sql.ts'

export const secret = 'a secret of the tests that is long enough'

export interface DoctorWorld {
  readonly superUrl: string
  readonly manager: Manager
  readonly roles: Roles
  /** The application's login. */
  readonly app: string
  readonly options: ManagerOptions
  /** Runs SQL as the superuser. */
  admin(text: string, values?: unknown[]): Promise<pg.QueryResult>
  /**
   * Ids and objects of the findings, as `D101 table public.notes`. Without `levels` only warnings
   * and errors.
   */
  found(...levels: readonly string[]): Promise<string[]>
}

export const tables: NonNullable<ManagerOptions['tables']> = {
  tenant: ['notes', 'tasks', 'events', 'steps'],
  shared: ['countries'],
  global: ['people']
}

export const makeTables = `
  create table countries (code text primary key);
  create table people (id int generated always as identity primary key, email text unique);
  create table notes (tenant_id uuid not null, id int generated always as identity, title text,
    primary key (tenant_id, id), unique (tenant_id, title));
  create table tasks (tenant_id uuid not null, id serial, note_id int, country text
    references countries, primary key (tenant_id, id),
    foreign key (tenant_id, note_id) references notes (tenant_id, id) on delete cascade);
  create table events (tenant_id uuid not null, day int not null, what text) partition by list (day);
  create table events_1 partition of events for values in (1);
  create table events_2 partition of events for values in (2) partition by list (day);
  create table events_2_2 partition of events_2 for values in (2);
  create table steps (task_tenant uuid not null, task_id int not null, n int not null,
    primary key (task_tenant, task_id, n), foreign key (task_tenant, task_id)
      references tasks (tenant_id, id))`

export async function doctorWorld (t: Test, more: Partial<ManagerOptions> = {}): Promise<DoctorWorld> {
  const superUrl = await freshDatabase(t)
  const admin = await connect(t, superUrl)
  const url = (use: string): string => loginUrl(superUrl, use)
  const given = typeof more.database === 'object' ? more.database : {}
  const options: ManagerOptions = {
    rls: { secret },
    tables,
    ...more,
    database: {
      url: url('app'),
      registryUrl: url('registry'),
      systemUrl: url('system'),
      ownerUrl: url('owner'),
      tenantRolesUrl: url('roles'),
      globalUrl: url('global'),
      ...given
    }
  }
  const manager = createManager(options)
  t.teardown(() => manager.close())
  await admin.query(makeTables)
  await manager.init({ url: superUrl })
  // Only a superuser may take over tables that a superuser owns.
  const setup = createManager({
    ...options,
    database: { ...options.database as object, ownerUrl: superUrl } as never
  })
  await setup.protect()
  await setup.close()
  return {
    superUrl,
    manager,
    roles: rolesOf(databaseOf(superUrl)),
    app: loginOf(url('app')).user,
    options,
    admin: (text, values) => admin.query(text, values),
    found: async (...levels) =>
      names(await manager.doctor(), levels.length === 0 ? ['error', 'warning'] : levels)
  }
}

export function names (
  { findings }: DoctorReport,
  levels: readonly string[] = ['error', 'warning', 'info']
): string[] {
  return findings.filter(({ level }) => levels.includes(level)).map(({ id, object }) => `${id} ${object}`)
}
