// A tenant with one small table, or with tables that a test makes. Another session writes it at
// given steps of a move.
import type { ManagerOptions, MovedTenant, MoveInput } from '@fastify-tenancy/manager'
import type { Test } from 'tap'

import { elsewhere } from '../support/standstill.ts'
import { managerFixture, unique, type ManagerFixture } from './manager-fixture.ts'

export interface Items {
  readonly on: ManagerFixture
  readonly id: string
  /**
   * Moves the tenant. SQL that `at` returns for a step runs to its end before the next step begins.
   */
  move(
    input: MoveInput,
    at?: (step: string) => string | undefined,
    more?: Partial<ManagerOptions>
  ): Promise<MovedTenant>
  /** Runs SQL as the superuser and blocks this thread meanwhile. */
  run(sql: string): void
}

/** DDL of the tests' table. As a tenant table its primary key begins with the tenant column. */
export const plain = (isShared: boolean): string =>
  `create table items (${
    isShared ? 'tenant_id text not null, ' : ''
  }id bigint not null, body text, primary key (${isShared ? 'tenant_id, ' : ''}id))`

/** The same table with a trigger that records the time of the last change. */
export const touched = (isShared: boolean): string =>
  `${plain(isShared)};
  alter table items add column touched_at timestamptz;
  create function touch_items () returns trigger language plpgsql as $f$
    begin new.touched_at := clock_timestamp(); return new; end $f$;
  create trigger touch before update on items for each row execute function touch_items()`

export async function items (
  t: Test,
  build: (isShared: boolean) => string = plain,
  tenant: readonly string[] = ['items'],
  shards: readonly string[] = []
): Promise<Items> {
  const on = await managerFixture(t, {
    build,
    tables: { tenant: [...tenant], shared: ['countries'] },
    shards
  })
  const id = unique(on, 'a')
  const other = elsewhere(t)
  await on.manager.create({ slug: 'acme', id })
  return {
    on,
    id,
    run (sql) {
      other.run(on.superUrl, sql)
    },
    async move (input, at = () => undefined, more = {}) {
      return on.another({
        ...more,
        progress ({ step }) {
          const sql = at(step)
          if (sql !== undefined) other.run(on.superUrl, sql)
        }
      }).move({ id }, input)
    }
  }
}

/** Returns `sql` the first time that a step is reached. */
export function once (step: string, sql: string): (step: string) => string | undefined {
  let isDone = false
  return now => {
    if (isDone || now !== step) return undefined
    isDone = true
    return sql
  }
}
