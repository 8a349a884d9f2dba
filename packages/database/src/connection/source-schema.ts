import { instance } from '@fastify-tenancy/core'
import type pg from 'pg'
import * as v from 'valibot'

const urlMessage = 'must be a URL such as \'postgres://user@host/database\' or \'pglite://memory\''
const serverUrlMessage = 'must be a URL such as \'postgres://user@host/database\''

/** A URL of a server or of an embedded PGlite. */
export const anyUrl: v.GenericSchema<string> = v.pipe(v.string(urlMessage), v.regex(/^(?:postgres|postgresql|pglite):\/\/./, urlMessage))

/** A URL of a server. */
export const serverUrl: v.GenericSchema<string> = v.pipe(v.string(serverUrlMessage), v.regex(/^(?:postgres|postgresql):\/\/./, serverUrlMessage))

/** A pool that its caller closes. */
export const pool: v.GenericSchema<pg.Pool> = instance<pg.Pool>('a URL or a pg.Pool', 'connect', 'query', 'end')

/** What pools are opened from. */
export const source: v.GenericSchema<string | pg.Pool> = v.union([anyUrl, pool], 'must be a URL such as \'postgres://user@host/database\', or a pg.Pool')
