// The path of the README: after each step old and new code do what it says.
import { createManager } from '@fastify-tenancy/manager'
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import type { FastifyInstance } from 'fastify'
import pg from 'pg'

import config, { manager as adoption } from '../tenancy.config.ts'
import { createOldDatabase } from '../src/create-old-database.ts'
import { oldUrl } from '../src/logins.ts'
import { newApp } from '../src/new-app.ts'
import { oldApp } from '../src/old-app.ts'

const { database, rls, tables } = config
const manager = createManager({ database, rls, tables, ...adoption } as Parameters<typeof createManager>[0])
const pool = new pg.Pool({ connectionString: oldUrl })
let old: FastifyInstance

before(async () => {
  await createOldDatabase()
  old = await oldApp(pool, false)
})
after(async () => {
  await old.close()
  await manager.close()
  await pool.end()
})

async function send (app: FastifyInstance, slug: string, url: string, payload?: object) {
  const method = payload === undefined ? 'GET' : 'POST'
  const reply = await app.inject({
    method,
    url,
    headers: { host: `${slug}.localhost` },
    ...(payload && { payload })
  })
  return { status: reply.statusCode, body: reply.json<{ id: string; title: string }[]>() }
}

/** A task of Globex that the old code shows. */
async function taskOfGlobex (): Promise<string> {
  return (await pool.query<{ id: string }>(
    "select tasks.id from tasks join projects on projects.id = project_id where name like 'Globex%' limit 1"
  )).rows[0]?.id ?? ''
}

test('1. the old code works, and shows Acme a task of Globex', async () => {
  assert.equal((await send(old, 'acme', '/tasks')).body.length, 30)
  assert.equal((await send(old, 'acme', `/tasks/${await taskOfGlobex()}`)).status, 200)
})

test('2. prepare gives each row its tenant, also rows that the old code writes', async () => {
  await manager.init()
  await manager.protect({ stage: 'prepare' })
  const [project] = (await send(old, 'acme', '/projects')).body
  assert.equal((await send(old, 'acme', '/tasks', { project: project?.id, title: 'Later' })).status, 201)
  const { rows } = await pool.query(
    'select org_id = tenant_id as same from tasks join projects on projects.id = project_id'
  )
  assert.equal(rows.length, 61)
  assert.ok(rows.every(({ same }) => same))
})

test('3. observe: old code works, new code is held to its tenant, and old queries are named', async () => {
  await manager.protect({ stage: 'observe' })
  const { created } = await manager.createFrom({ query: 'select id, slug, name from organizations' })
  assert.equal(created.length, 2)
  const app = await newApp(pool, false)
  try {
    const task = await taskOfGlobex()
    assert.equal((await send(old, 'acme', `/tasks/${task}`)).status, 200)
    assert.equal((await send(app, 'acme', `/tasks/${task}`)).status, 404)
    assert.equal((await send(app, 'globex', `/tasks/${task}`)).status, 200)
    assert.equal((await send(app, 'acme', '/tasks')).body.length, 31)
    const observed = app.tenantDatabase.observed.map(({ route, by }) => ({ route, by }))
      .filter(({ route }) => route !== undefined) // the old application shares the pool
    assert.deepEqual(observed, [{ route: 'GET /tasks', by: 'old' }])
  } finally {
    await app.close()
  }
})

test('4. enforce: the old code can read nothing any more, and the new code serves', async () => {
  const task = await taskOfGlobex()
  await manager.protect({ stage: 'enforce', force: true })
  await manager.migrate()
  assert.equal((await send(old, 'acme', '/tasks')).status, 500)
  const app = await newApp(undefined, false)
  try {
    assert.equal((await send(app, 'acme', '/tasks')).body.length, 31)
    assert.equal((await send(app, 'acme', `/tasks/${task}`)).status, 404)
    const [project] = (await send(app, 'globex', '/projects')).body
    const stolen = { project: project?.id, title: 'Not mine' }
    assert.equal((await send(app, 'acme', '/tasks', stolen)).status, 404)
    assert.equal((await send(app, 'globex', '/tasks', stolen)).status, 201)
  } finally {
    await app.close()
  }
})

test('5. the doctor has no error left', async () => {
  const { findings } = await manager.doctor()
  assert.deepEqual(findings.filter(({ level }) => level === 'error'), [])
})
