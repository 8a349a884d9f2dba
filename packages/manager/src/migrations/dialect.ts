import { PostgresAdapter, PostgresIntrospector, PostgresQueryCompiler, type CompiledQuery,
  type DatabaseConnection, type Dialect, type DialectAdapter, type Driver, type DatabaseIntrospector,
  type Kysely, type QueryCompiler, type QueryResult } from 'kysely'

/** Runs statements of a migration. */
export interface StatementRunner {
  run(
    text: string,
    values: readonly unknown[]
  ): Promise<{ readonly rows: unknown[]; readonly rowCount?: number | null; readonly command?: string }>
  /**
   * Buffers a statement whose result is not needed.
   *
   * @returns whether it was buffered
   */
  hold?(text: string): boolean
  begin(): Promise<void>
  commit(): Promise<void>
  rollback(): Promise<void>
}

/** Kysely dialect on the one connection that a migration runs on. */
export class MigrationDialect implements Dialect {
  readonly #runner: StatementRunner

  constructor (runner: StatementRunner) {
    this.#runner = runner
  }

  createDriver (): Driver {
    return new MigrationDriver(this.#runner)
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

class MigrationDriver implements Driver {
  readonly #runner: StatementRunner

  constructor (runner: StatementRunner) {
    this.#runner = runner
  }

  async init (): Promise<void> {}

  async acquireConnection (): Promise<DatabaseConnection> {
    return new MigrationConnection(this.#runner)
  }

  beginTransaction (): Promise<void> {
    return this.#runner.begin()
  }

  commitTransaction (): Promise<void> {
    return this.#runner.commit()
  }

  rollbackTransaction (): Promise<void> {
    return this.#runner.rollback()
  }

  async releaseConnection (): Promise<void> {}

  async destroy (): Promise<void> {}
}

class MigrationConnection implements DatabaseConnection {
  readonly #runner: StatementRunner

  constructor (runner: StatementRunner) {
    this.#runner = runner
  }

  async executeQuery<R> ({ sql, parameters }: CompiledQuery): Promise<QueryResult<R>> {
    if (parameters.length === 0 && this.#runner.hold?.(sql) === true) return { rows: [] }
    const { rows, rowCount, command = '' } = await this.#runner.run(sql, parameters)
    return {
      rows: rows as R[] ?? [],
      ...(typeof rowCount === 'number' && ['INSERT', 'UPDATE', 'DELETE', 'MERGE'].includes(command) &&
        { numAffectedRows: BigInt(rowCount) })
    }
  }

  streamQuery<R> (): AsyncIterableIterator<QueryResult<R>> {
    throw new Error('stream() is not supported in migrations: use execute() with a limit, chunk by chunk')
  }
}
