import { instance } from '@fastify-tenancy/core/options'
import type pg from 'pg'
import * as v from 'valibot'

const urlMessage = "must be a URL such as 'postgres://user@host/database' or 'pglite://memory'"
const serverUrlMessage = "must be a URL such as 'postgres://user@host/database'"

// Whether pg can parse the URL. pg accepts a missing host, and `{database}` is filled in per
// tenant. Without this check the first query would fail instead.
const isReadable = (url: string): boolean =>
  url.startsWith('pglite:') || URL.canParse(url.replace('@/', '@host/').replaceAll('{database}', 'name'))

/** A URL of a server or of an embedded PGlite. */
export const anyUrl: v.GenericSchema<string> = v.pipe(
  v.string(urlMessage),
  v.regex(/^(?:postgres|postgresql|pglite):\/\/./, urlMessage),
  v.check(isReadable, urlMessage)
)

/** A URL of a server. */
export const serverUrl: v.GenericSchema<string> = v.pipe(
  v.string(serverUrlMessage),
  v.regex(/^(?:postgres|postgresql):\/\/./, serverUrlMessage),
  v.check(isReadable, serverUrlMessage)
)

/** A pool that the caller closes. */
export const pool: v.GenericSchema<pg.Pool> = instance<pg.Pool>(
  'a URL or a pg.Pool',
  'connect',
  'query',
  'end'
)

/** The source of a pool: a URL, or an existing pool. */
export const source: v.GenericSchema<string | pg.Pool> = v.union(
  [anyUrl, pool],
  "must be a URL such as 'postgres://user@host/database', or a pg.Pool"
)
