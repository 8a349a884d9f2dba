// What the test file of each runner does: the built packages, as a user has them, on the database of KIT_URL.
import assert from 'node:assert/strict'
import Fastify from 'fastify'
import tenancy from 'fastify-tenancy'
import pg from 'pg'

import { assertIsolated } from '@fastify-tenancy/testing'

const url = process.env.KIT_URL
const tenants = { victim: { slug: process.env.KIT_VICTIM }, attacker: { slug: process.env.KIT_ATTACKER } }

/** Runs the kit on a small application, whose list shows the rows of all tenants if it leaks. */
export async function check ({ isLeaky }) {
  const app = Fastify()
  const pool = new pg.Pool({ connectionString: url })
  try {
    await app.register(tenancy, { baseDomain: 'example.com', database: url, tables: { tenant: ['items'] } })
    app.get(
      '/items',
      async request =>
        isLeaky
          ? (await pool.query('select name from items')).rows
          : request.db.selectFrom('items').select('name').execute()
    )
    const run = assertIsolated(app, tenants)
    if (isLeaky) await assert.rejects(run, { name: 'AssertionError', message: /GET \/items leaks/ })
    else assert.match(String(await run), /^0 leaks, 0 not tried/)
  } finally {
    await app.close()
    await pool.end()
  }
}

export const cases = [['finds nothing in a clean application', { isLeaky: false }], ['finds a leak', {
  isLeaky: true
}]]
