// A Kysely whose queries are rewritten and never sent.
import { DummyDriver, Kysely, PostgresAdapter, PostgresIntrospector, type Compilable,
  type QueryCompiler } from 'kysely'

import { RowCompiler } from '../../packages/database/src/compilers/row-compiler.ts'
import { defaultFunctions } from '../../packages/database/src/rewrite/functions.ts'
import { grammar } from '../../packages/database/src/rewrite/rewrite.ts'
import { rootScope, type Scope } from '../../packages/database/src/rewrite/scope.ts'
import type { RowTables } from '../../packages/database/src/rewrite/tables.ts'
import { tenantValue } from '../../packages/database/src/rewrite/tenant-value.ts'

export interface Tables {
  notes: { tenant_id: string; id: number; title: string; n: number; parent: number | null; data: unknown }
  tags: { tenant_id: string; id: number; note_id: number; label: string }
  counts: { account: number; id: number; n: number }
  countries: { code: string; name: string }
  secrets: { value: string }
}

export const tables: RowTables = {
  schema: 'public',
  tenant: new Map([
    ['notes', { name: 'notes', column: 'tenant_id', type: 'text' }],
    ['tags', { name: 'tags', column: 'tenant_id', type: 'uuid' }],
    ['counts', { name: 'counts', column: 'account', type: 'int' }]
  ]),
  shared: new Set(['countries'])
}

/** A tenant whose id fits a column of uuid, besides one of text. */
export const tenant = '0b5ad8f4-6d5c-4c1e-9a43-3c1f5f1a2b3c'

export function scopeOf (
  id: string = tenant,
  more: Partial<Pick<Scope, 'functions' | 'tables'>> = {}
): Scope {
  return rootScope({
    tenant: tenantValue(id),
    tables,
    functions: new Set(defaultFunctions),
    grammar,
    ...more
  })
}

export function kysely<Database = Tables> (
  compiler: QueryCompiler = new RowCompiler(scopeOf())
): Kysely<Database> {
  return new Kysely<Database>({
    dialect: {
      createDriver: () => new DummyDriver(),
      createAdapter: () => new PostgresAdapter(),
      createIntrospector: db => new PostgresIntrospector(db),
      createQueryCompiler: () => compiler
    }
  })
}

/** The text of a query; parameters as they are, but the tenant's as `:tenant`. */
export function text (query: Compilable): string {
  const { sql, parameters } = query.compile()
  return sql.replaceAll(/\$(\d+)/g, (_, number: string) => {
    const value = parameters[Number(number) - 1]
    return value === tenant ? ':tenant' : JSON.stringify(value)
  })
}
