export { connectError, isConnectError, isDatabaseMissing, nameConnectErrors } from './connect-error.ts'
export { GuardedClient, guardClient } from './guarded-client.ts'
export { type PoolSettings, defaultPoolSettings, isEmbedded, isEmbeddedPool, onEmbeddedChange, openPool,
  publishEmbeddedChange } from './open-pool.ts'
export { type Field, OneWrite, type RowDecoder, type WireClient, type WireConnection, type WireMessages,
  type WireValue, encodeValue, isServerError, rowDecoder, wireClient } from './pg-internals.ts'
export { Script, type ScriptPart } from './script.ts'
export { type SqlClient, inTransaction, quoteName, quoteText, sqlState } from './sql-client.ts'
export { endOfComment } from './sql-comment.ts'
export { anyUrl, pool, serverUrl, source } from './url-schema.ts'
export { retried } from './retried.ts'
