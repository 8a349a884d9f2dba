import type { Reply } from './pipelined-batch.ts'
import type { Query } from './tenant-connection.ts'

/** A connection that runs texts, besides the compiled queries of Kysely. */
export interface TextConnection {
  /** @throws FST_TENANCY_QUERY_REFUSED where the tenant's queries are rewritten: a text cannot be. */
  send(query: Query): Promise<Reply>
}

/** What a `pg` client needs of a scope's driver: connections, and transaction control on them. */
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
