import type { Reply } from './batch-end.ts'
import type { Query } from './tenant-connection.ts'

/** A connection that runs SQL texts, besides the compiled queries of Kysely. */
export interface TextConnection {
  /**
   * @throws FST_TENANCY_QUERY_REFUSED if the tenant's queries are rewritten, because a text cannot
   * be rewritten
   */
  send(query: Query): Promise<Reply>
}

/**
 * The part of a scope's driver that a `pg` client needs: connections and their transaction control.
 */
export interface TextDriver {
  acquireConnection(): Promise<TextConnection>
  releaseConnection(connection: TextConnection): Promise<void>
  /** @param characteristics such as ` isolation level serializable`, or `''` */
  begin(connection: TextConnection, characteristics: string): Promise<void>
  commitTransaction(connection: TextConnection): Promise<void>
  rollbackTransaction(connection: TextConnection): Promise<void>
  savepoint(connection: TextConnection, name: string): Promise<void>
  rollbackToSavepoint(connection: TextConnection, name: string): Promise<void>
  releaseSavepoint(connection: TextConnection, name: string): Promise<void>
}
