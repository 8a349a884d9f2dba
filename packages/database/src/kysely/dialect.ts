import { PostgresAdapter, PostgresIntrospector, PostgresQueryCompiler, type DatabaseIntrospector,
  type Dialect, type DialectAdapter, type Driver, type Kysely, type QueryCompiler } from 'kysely'

/**
 * Kysely's PostgreSQL dialect with the suite's own driver. Kysely's driver never names statements,
 * and sends statements without parameters by the simple protocol, which allows several in one text.
 */
export class TenantDialect implements Dialect {
  readonly #driver: Driver
  readonly #compiler: QueryCompiler | undefined

  /** @param compiler replaces Kysely's compiler, for a handle whose queries are rewritten */
  constructor (driver: Driver, compiler?: QueryCompiler) {
    this.#driver = driver
    this.#compiler = compiler
  }

  createDriver (): Driver {
    return this.#driver
  }

  createQueryCompiler (): QueryCompiler {
    return this.#compiler ?? new PostgresQueryCompiler()
  }

  createAdapter (): DialectAdapter {
    return new PostgresAdapter()
  }

  createIntrospector (db: Kysely<unknown>): DatabaseIntrospector {
    return new PostgresIntrospector(db)
  }
}
