import { PostgresAdapter, PostgresIntrospector, PostgresQueryCompiler, type DatabaseIntrospector, type Dialect, type DialectAdapter, type Driver, type Kysely, type QueryCompiler } from 'kysely'

import { TenantDriver, type TenantDriverSettings } from './driver.ts'

/**
 * Kysely's PostgreSQL dialect over the suite's own driver. Kysely's own driver never names statements, and sends those
 * without parameters by the simple protocol, which allows several in one text.
 */
export class TenantDialect implements Dialect {
  readonly #settings: TenantDriverSettings

  constructor (settings: TenantDriverSettings) {
    this.#settings = settings
  }

  createDriver (): Driver {
    return new TenantDriver(this.#settings)
  }

  createQueryCompiler (): QueryCompiler {
    return new PostgresQueryCompiler()
  }

  createAdapter (): DialectAdapter {
    return new PostgresAdapter()
  }

  createIntrospector (db: Kysely<unknown>): DatabaseIntrospector {
    return new PostgresIntrospector(db)
  }
}
