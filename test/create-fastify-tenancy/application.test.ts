// One new application, as its user has it: its own test passes, and `npm run dev` serves its tenants.
// `npm run test:create` does this for every pair of choices, from the packed packages.
import { applicationFiles, choose } from 'create-fastify-tenancy'
import { execFile } from 'node:child_process'
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'

import { ask, serve } from '../../.ci/snippets.ts'
import { root } from '../../.ci/sources.ts'

const condition = '--conditions=@fastify-tenancy/source'
const folder = t.testdir()
for (const [path, text] of await applicationFiles(choose({ name: 'shop', language: 'js' }))) {
  mkdirSync(dirname(join(folder, path)), { recursive: true })
  writeFileSync(join(folder, path), text)
}
symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'))
const { scripts } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as {
  scripts: { readonly test: string; readonly dev: string }
}

t.test(
  'ISO-KIT the test of a new application passes, and tries every route',
  { timeout: 240_000 },
  async t => {
    t.equal(scripts.test, 'node --test "test/*.test.js"')
    const { stdout } = await promisify(execFile)(process.execPath, [condition, '--test', 'test/*.test.js'], {
      cwd: folder,
      env: { ...process.env, NODE_TEST_CONTEXT: undefined }
    })
    t.match(stdout, /0 leaks, 0 not tried/)
    for (const line of ['GET /projects/:id', 'POST /projects/:id/tasks', 'table projects', 'table tasks'])
      t.match(stdout, new RegExp(`^${line.replaceAll('/', '\\/')} +[1-9]\\d* +[1-9]`, 'm'))
  }
)

t.test('npm run dev serves acme and globex, and no other tenant', { timeout: 120_000 }, async t => {
  t.equal(scripts.dev, 'node --watch src/dev.js')
  const { child, port } = await serve([condition, 'src/dev.js'], folder)
  t.teardown(() => child.kill('SIGKILL'))
  const made = await ask(port, 'acme.localhost', '/projects', { name: 'First' })
  t.match(made, { status: 201, body: { id: String, name: 'First' } })
  t.same(await ask(port, 'acme.localhost', '/projects'), { status: 200, body: [made.body] })
  t.same(await ask(port, 'globex.localhost', '/projects'), { status: 200, body: [] })
  t.match(await ask(port, 'initech.localhost', '/projects'), {
    status: 404,
    body: { code: 'FST_TENANCY_TENANT_UNKNOWN' }
  })
  t.match(await ask(port, 'localhost', '/ready'), { status: 200, body: { status: 'ok' } })
})
