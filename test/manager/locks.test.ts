// The connection that holds tenants' locks: what its loss means for the next caller.
import { init } from '@fastify-tenancy/postgres/install'
import { Socket } from 'node:net'
import pg from 'pg'
import t, { type Test } from 'tap'

import { Locks } from '../../packages/manager/src/context/locks.ts'
import { freshDatabase } from '../support/fresh.ts'
import { noPgBouncer, pgBouncer } from '../support/pgbouncer.ts'
import { connect } from '../support/sql.ts'

async function initialised (t: Test): Promise<string> {
  const url = await freshDatabase(t)
  await init(await connect(t, url))
  return url
}

t.test('LIF-02 the late end of a lost connection takes no lock from the next one', async t => {
  const sockets: Socket[] = []
  const stream = (): Socket => {
    const socket = new Socket()
    sockets.push(socket)
    return socket
  }
  const pool = new pg.Pool({ connectionString: await initialised(t), stream } as pg.PoolConfig)
  const locks = new Locks(() => pool)
  t.teardown(async () => {
    await locks.close()
    await pool.end()
  })
  await locks.hold('a', 'busy', async () => {})
  const [lost] = sockets
  lost?.emit('error', new Error('it is lost'))
  const next = locks.hold('a', 'busy', async held => {
    held.assertHeld()
    return 'done'
  })
  lost?.destroy()
  t.equal(await next, 'done', 'its work may go on')
  const { rows } = await pool.query(
    "select from pg_locks where locktype = 'advisory' and database = (select oid from pg_database " +
      'where datname = current_database())'
  )
  t.equal(rows.length, 0, 'and its lock is given back')
})

t.test('LIF-02 behind a pooler where two managers may share a session, no manager gets a lock', {
  skip: noPgBouncer
}, async t => {
  const pooled = await pgBouncer(t, await initialised(t))
  const pool = new pg.Pool({ connectionString: pooled })
  const [one, two] = [new Locks(() => pool), new Locks(() => pool)]
  t.teardown(async () => {
    await Promise.all([one.close(), two.close()])
    await pool.end()
  })
  let holders = 0
  const work = (locks: Locks): Promise<void> =>
    locks.hold('a', 'busy', async () => {
      holders++
      if (locks === one) await t.rejects(work(two), { code: 'FST_TENANCY_SETUP_INVALID' })
    })
  await t.rejects(work(one), {
    code: 'FST_TENANCY_SETUP_INVALID',
    message: /through a pooler.*the server's own address/
  })
  t.equal(holders, 0)
})

t.test(
  'a pooler with one session per connection is accepted',
  { skip: noPgBouncer },
  async t => {
    const pooled = await pgBouncer(t, await initialised(t), 'session')
    const pool = new pg.Pool({ connectionString: pooled })
    const locks = new Locks(() => pool)
    t.teardown(async () => {
      await locks.close()
      await pool.end()
    })
    t.equal(await locks.hold('a', 'busy', async () => 'done'), 'done')
  }
)
