import type { PGlite } from '@electric-sql/pglite'
import { createRequire } from 'node:module'

import { OptionInvalidError, type TenantChange } from '@fastify-tenancy/core'
import { InternalError } from '@fastify-tenancy/core/errors'
import pg from 'pg'

import { lockFolder } from './folder-lock.ts'
import { GuardedClient } from './guarded-client.ts'
import { PGliteStream } from './pglite-stream.ts'

/** Bounds of a pool. Durations in milliseconds. */
export interface PoolSettings {
  readonly max: number
  /** Longest wait for a connection, new or free. */
  readonly acquireTimeout: number
  /** How long an unused connection is kept. */
  readonly idleTimeout: number
  /** The class of the pool's connections, for callers that count them. @default GuardedClient */
  readonly Client?: new(config?: pg.ClientConfig) => pg.Client
}

/** @default 10 connections, 5 s to get one, 5 minutes idle */
export const defaultPoolSettings: PoolSettings = Object.freeze({
  max: 10,
  acquireTimeout: 5_000,
  idleTimeout: 300_000
})

/** Whether a URL names an embedded PGlite. */
export function isEmbedded (url: string): boolean {
  return url.startsWith('pglite:')
}

/**
 * Opens a pool on a URL: `postgres://…`, or `pglite://memory` and `pglite://./folder` for an
 * embedded PGlite. Each call with `pglite://memory` creates a new, empty database, so parts that
 * need the same database must share the pool. PGlite has one connection; end the pool to close it.
 *
 * @throws FST_TENANCY_DATABASE_UNAVAILABLE if the folder of a PGlite is in use, here or elsewhere
 */
export function openPool (url: string, settings: PoolSettings = defaultPoolSettings): pg.Pool {
  if (isEmbedded(url)) return openEmbedded(url)
  if (!/^postgres(?:ql)?:\/\/./.test(url))
    throw new OptionInvalidError("the database's URL must begin with postgres://, postgresql:// or pglite://")
  const pool = new pg.Pool({
    connectionString: url,
    max: settings.max,
    min: 0,
    connectionTimeoutMillis: settings.acquireTimeout,
    idleTimeoutMillis: settings.idleTimeout,
    keepAlive: true,
    Client: (settings.Client ?? GuardedClient) as never
  })
  // The pool reports the death of an idle backend. Without a listener the event would end the
  // process. A GuardedClient has a listener of its own.
  pool.on('error', () => {})
  return pool
}

function openEmbedded (url: string): pg.Pool {
  const { PGlite: Embedded } = loadPGlite()
  const folder = url.slice('pglite://'.length)
  const lock = folder === 'memory' ? undefined : lockFolder(folder)
  const database = lock === undefined
    ? Promise.resolve(new Embedded('memory://'))
    : lock.ready.then(() => new Embedded(folder))
  // Each connection reports why the folder cannot be opened.
  database.catch(() => {})
  const pool = new EmbeddedPool({
    user: 'postgres',
    database: 'postgres',
    host: 'localhost',
    ssl: false,
    max: 1,
    idleTimeoutMillis: 0,
    stream: () => new PGliteStream(database) as never
  })
  pool.onEnd = drained => {
    const closed = drained.then(() => database.then(opened => opened.close(), () => {}))
    return lock === undefined ? closed : lock.release(closed)
  }
  return pool
}

class EmbeddedPool extends pg.Pool {
  readonly onChange = new Set<(change: TenantChange) => void>()
  onEnd: (drained: Promise<void>) => Promise<void> = drained => drained

  #ended: Promise<void> | undefined

  override async end (): Promise<void> {
    const drained = super.end()
    this.#ended ??= this.onEnd(drained)
    await drained
    await this.#ended
  }
}

/** Whether a pool is on an embedded PGlite. */
export function isEmbeddedPool (pool: pg.Pool): boolean {
  return pool instanceof EmbeddedPool
}

/** Calls the listeners of {@link onEmbeddedChange} if the pool is on an embedded PGlite. */
export function publishEmbeddedChange (pool: pg.Pool, change: TenantChange): void {
  if (pool instanceof EmbeddedPool) { for (const listener of pool.onChange) listener(change) }
}

/**
 * Calls the listener for each change that a manager on this pool makes. Only one process uses an
 * embedded PGlite, so this replaces LISTEN there. Returns the function that ends it.
 */
export function onEmbeddedChange (pool: pg.Pool, listener: (change: TenantChange) => void): () => void {
  if (!(pool instanceof EmbeddedPool)) return () => {}
  pool.onChange.add(listener)
  return () => pool.onChange.delete(listener)
}

// Loaded on first use, because an application on PostgreSQL does not install it.
function loadPGlite (): { PGlite: typeof PGlite } {
  try {
    return createRequire(import.meta.url)('@electric-sql/pglite') as { PGlite: typeof PGlite }
  } catch (cause) {
    throw new InternalError(
      'pglite:// needs the package @electric-sql/pglite: install it, or give a postgres:// URL',
      { cause }
    )
  }
}
