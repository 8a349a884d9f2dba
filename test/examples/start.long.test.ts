// docs/start.md up to section 6: its files are compiled, served and tested as a reader does it, in an
// empty folder. operate.long.test.ts follows section 7.
import { execFile } from 'node:child_process'
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'

import { ask, importsOf, installLine, namedSnippets, serve } from '../../.ci/snippets.ts'
import { root } from '../../.ci/sources.ts'

const page = join(root, 'packages/fastify-tenancy/docs/start.md')
const condition = '--conditions=@fastify-tenancy/source'
const run = promisify(execFile)

const folder = t.testdir({ 'package.json': '{ "type": "module" }' })
symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'))
for (const [name, code] of namedSnippets(page)) {
  mkdirSync(dirname(join(folder, name)), { recursive: true })
  writeFileSync(join(folder, name), code)
}

t.test('the install lines name what the files import', async t => {
  const line = [...installLine(page), '@fastify-tenancy/testing']
  const imported = [...namedSnippets(page).values()].flatMap(importsOf)
  t.ok(imported.length >= 6, 'control')
  t.same(imported.filter(name => !line.includes(name)), [])
  t.match(readFileSync(page, 'utf8'), /^npm install --save-dev @fastify-tenancy\/testing /m)
})

t.test('the files of Start compile under strict', { timeout: 180_000 }, async t => {
  const args = [join(root, 'node_modules/typescript/lib/tsc.js'), '--project', 'tsconfig.json']
  await run(process.execPath, args, { cwd: folder }).catch((error: { stdout: string }) => {
    t.fail(error.stdout)
  })
})

t.test('the server of Start answers as the page prints it', { timeout: 120_000 }, async t => {
  const { child, port } = await serve([condition, 'server.ts'], folder)
  t.teardown(() => child.kill('SIGKILL'))
  const made = await ask(port, 'acme.localhost', '/projects', { name: 'Secret Project' })
  t.match(made, { status: 201, body: { id: String, name: 'Secret Project' } })
  const { id } = made.body as { id: string }
  t.same(await ask(port, 'acme.localhost', `/projects/${id}`), { status: 200, body: made.body })
  t.same(await ask(port, 'globex.localhost', '/projects'), { status: 200, body: [] })
  t.same(await ask(port, 'globex.localhost', `/projects/${id}`), {
    status: 404,
    body: { message: 'There is no such project' }
  })
  t.equal((await ask(port, 'nosuch.localhost', '/projects')).status, 404)
})

t.test('the isolation test of Start passes', { timeout: 240_000 }, async t => {
  const { stdout } = await run(process.execPath, [condition, '--test', 'isolation.test.ts'], {
    cwd: folder,
    env: { ...process.env, NODE_TEST_CONTEXT: undefined }
  })
  t.match(stdout, /0 leaks/)
  t.match(stdout, /GET \/projects\/:id/)
})

t.test(
  'control: the isolation test of Start fails once the application leaks',
  { timeout: 240_000 },
  async t => {
    const code = readFileSync(join(folder, 'app.ts'), 'utf8')
    const leak = code.replace(
      /app\.get\('\/projects', request => (.*)\)\n/,
      `const seen: unknown[] = []
  app.get('/projects', async request => {
    seen.push(...await $1)
    return seen
  })\n`
    )
    t.not(leak, code)
    writeFileSync(join(folder, 'app.ts'), leak)
    const failure = await run(process.execPath, [condition, '--test', 'isolation.test.ts'], {
      cwd: folder,
      env: { ...process.env, NODE_TEST_CONTEXT: undefined }
    }).catch((error: unknown) => error)
    t.match(failure, { code: 1, stdout: /GET \/projects leaks/ })
  }
)
