import { PostgresAdapter, PostgresIntrospector, PostgresQueryCompiler, type CompiledQuery, type DatabaseConnection, type Dialect, type DialectAdapter, type Driver, type DatabaseIntrospector, type Kysely, type QueryCompiler, type QueryResult } from 'kysely'

import type { Batch } from './batch.ts'

// What changes the schema has no parameters and answers nothing that Kysely would hand on.
const schemaChange = /^\s*(?:create|alter|drop|comment|grant|revoke)\b/i

/** A Kysely on one transaction, in which schema changes travel together. */
export class MigrationDialect implements Dialect {
  readonly #batch: Batch
  readonly #head: readonly string[]

  /** @param head what begins the transaction */
  constructor (batch: Batch, head: readonly string[]) {
    this.#batch = batch
    this.#head = head
  }

  createDriver (): Driver {
    return new MigrationDriver(this.#batch, this.#head)
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
  readonly #batch: Batch
  readonly #head: readonly string[]

  constructor (batch: Batch, head: readonly string[]) {
    this.#batch = batch
    this.#head = head
  }

  async init (): Promise<void> {}

  async acquireConnection (): Promise<DatabaseConnection> {
    return new MigrationConnection(this.#batch)
  }

  async beginTransaction (): Promise<void> {
    for (const text of this.#head) this.#batch.add(text)
  }

  commitTransaction (): Promise<void> {
    return this.#batch.commit()
  }

  rollbackTransaction (): Promise<void> {
    return this.#batch.rollback()
  }

  async releaseConnection (): Promise<void> {}

  async destroy (): Promise<void> {}
}

class MigrationConnection implements DatabaseConnection {
  readonly #batch: Batch

  constructor (batch: Batch) {
    this.#batch = batch
  }

  async executeQuery<R> ({ sql, parameters }: CompiledQuery): Promise<QueryResult<R>> {
    if (parameters.length === 0 && schemaChange.test(sql)) {
      this.#batch.add(sql)
      return { rows: [] }
    }
    const { rows, rowCount, command = '' } = await this.#batch.run(sql, parameters)
    return {
      rows: rows as R[] ?? [],
      ...(rowCount !== null && ['INSERT', 'UPDATE', 'DELETE', 'MERGE'].includes(command) && { numAffectedRows: BigInt(rowCount) })
    }
  }

  streamQuery<R> (): AsyncIterableIterator<QueryResult<R>> {
    throw new Error('stream() is not there in migrations: read with execute(), in portions')
  }
}
