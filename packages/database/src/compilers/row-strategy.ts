import type { Tenant } from '@fastify-tenancy/core'
import { InternalError } from '@fastify-tenancy/core/errors'
import type { SqlClient } from '@fastify-tenancy/postgres/client'
import type { ResolvedTables } from '@fastify-tenancy/postgres/tables'

import type { Judge } from '../harmless/judge.ts'
import type { ResolvedDatabaseOptions } from '../options/options.ts'
import { defaultFunctions } from '../rewrite/functions.ts'
import { readRowTables } from '../rewrite/read-tables.ts'
import { grammar } from '../rewrite/rewrite.ts'
import { rootScope } from '../rewrite/scope.ts'
import type { RowTables } from '../rewrite/tables.ts'
import { tenantValue } from '../rewrite/tenant-value.ts'
import { RowCompiler } from './row-compiler.ts'

/**
 * Decides which tenants' queries are rewritten on one database, and holds what their compilers
 * share.
 */
export class RowStrategy {
  readonly #options: ResolvedDatabaseOptions
  readonly #functions: ReadonlySet<string>
  readonly #judge: Judge
  #tables: RowTables | undefined

  constructor (options: ResolvedDatabaseOptions, judge: Judge) {
    this.#options = options
    this.#judge = judge
    this.#functions = new Set([...defaultFunctions, ...options.row.functions])
  }

  /**
   * Reads the tables from the catalog. A table that is created later is refused until the next
   * boot.
   */
  async boot (client: SqlClient, tables: ResolvedTables): Promise<void> {
    this.#tables = await readRowTables(client, tables)
  }

  /** Returns the compiler of one tenant's handle; undefined if its queries are not rewritten. */
  compiler (tenant: Tenant): RowCompiler | undefined {
    const { isolation, rls: { filter } } = this.#options
    // With isolation `row` there may be no policies. So tenants of strategy `rls`, the default of a
    // tenant, are rewritten, too.
    const isRewritten = tenant.isolation === 'row' ||
      (tenant.isolation === 'rls' && (filter || isolation === 'row'))
    if (!isRewritten) return undefined
    if (this.#tables === undefined) throw new InternalError('the database was not booted: await boot() first')
    return new RowCompiler(
      rootScope({
        tenant: tenantValue(tenant.id),
        tables: this.#tables,
        functions: this.#functions,
        grammar
      }),
      this.#judge,
      tenant
    )
  }
}
