import type { PGlite } from '@electric-sql/pglite'
import { createRequire } from 'node:module'

import { OptionInvalidError, InternalError } from '@fastify-tenancy/core'
import pg from 'pg'

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
  const database = new Embedded(folder === 'memory' ? 'memory://' : folder)
  const pool = new EmbeddedPool({
    user: 'postgres',
    database: 'postgres',
    host: 'localhost',
    ssl: false,
    max: 1,
    idleTimeoutMillis: 0,
    stream: () => new PGliteStream(database) as never
  })
  pool.onEnd = () => database.close()
  return pool
}

class EmbeddedPool extends pg.Pool {
  onEnd: () => Promise<void> = async () => {}

  override async end (): Promise<void> {
    await super.end()
    await this.onEnd()
  }
}

/** Whether a pool is on an embedded PGlite. */
export function isEmbeddedPool (pool: pg.Pool): boolean {
  return pool instanceof EmbeddedPool
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
