// The options of the managers in lifecycle-fixture.ts. They are a file of their own for processes
// that need no test runner.
import type { Isolation } from '@fastify-tenancy/core'
import type { ManagerOptions } from '@fastify-tenancy/manager'
import type { Generated, Kysely } from 'kysely'

import { databaseOf, loginUrl } from '../support/urls.ts'

export interface Rows {
  projects: { tenant_id: Generated<string>; id: number; parent: number | null }
  tasks: { tenant_id: Generated<string>; id: number; project_id: number }
  comments: { id: number; project_tenant: string; project_id: number }
}

export const tables = {
  tenant: ['projects', 'tasks', 'comments'],
  global: ['members'],
  shared: ['countries']
}

const ownTables = `
  create table projects (id int primary key, parent int references projects);
  create table tasks (id int primary key, project_id int not null references projects)`

export type LifecycleStrategy = Isolation | 'role'

/** Options for any process that has only the URL of the database. */
export function lifecycleOptions (
  superUrl: string,
  strategy: LifecycleStrategy,
  more: Partial<ManagerOptions> = {}
): ManagerOptions {
  return {
    database: {
      url: loginUrl(superUrl, 'app'),
      ownerUrl: ownerUrl(superUrl),
      registryUrl: loginUrl(superUrl, 'registry'),
      tenants: { url: tenantUrl(superUrl, '{database}') }
    },
    isolation: strategy === 'role' ? 'rls' : strategy,
    ...(strategy === 'role' && { rls: { context: 'role' as const } }),
    tables,
    ...(strategy !== 'row' && {
      provision: async ({ client }) => {
        await client.query(ownTables.replaceAll('create table', 'create table if not exists'))
      }
    }),
    ...more
  }
}

export function ownerUrl (superUrl: string): string {
  return loginUrl(superUrl, 'owner')
}

// The names of databases begin with the test's own name, because ids are made of it. The teardown
// finds them by that.
export function tenantUrl (superUrl: string, name: string): string {
  const isTemplate = name === '{database}'
  const url = new URL(superUrl)
  if (isTemplate) url.username = url.password = 'TENANT'
  return url.href.replaceAll('TENANT', '{database}').replace(
    `/${databaseOf(superUrl)}`,
    isTemplate ? '/{database}' : `/tenant_${name}`
  )
}

/** Additional steps of a create and a purge. They are idempotent. */
export const lifecycleSteps: Pick<ManagerOptions, 'seed' | 'lifecycle'> = {
  async seed ({ db }) {
    await (db as unknown as Kysely<Rows>).insertInto('projects').values({ id: 7, parent: null }).onConflict(
      on => on.doNothing()
    ).execute()
  },
  lifecycle: { steps: [{ name: 'bucket', create: async () => {}, purge: async () => {} }] }
}
