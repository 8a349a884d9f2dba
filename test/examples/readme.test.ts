// The suite's page on npm, followed to the letter in an empty folder: first tenant, first table, answer.
import { symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'

import { ask, importsOf, installLine, namedSnippets, serve } from '../../.ci/snippets.ts'
import { root } from '../../.ci/sources.ts'

const page = join(root, 'packages/fastify-tenancy/README.md')

t.test('the install line of the README names what its snippet imports', async t => {
  const code = namedSnippets(page).get('server.mjs') ?? ''
  t.ok(importsOf(code).length >= 3, 'control')
  t.same(importsOf(code).filter(name => !installLine(page).includes(name)), [])
})

t.test(
  'the README followed to the letter serves its first tenant, and no other',
  { timeout: 120_000 },
  async t => {
    const folder = t.testdir()
    symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'))
    for (const [name, code] of namedSnippets(page)) writeFileSync(join(folder, name), code)

    const { child, port } = await serve(['--conditions=@fastify-tenancy/source', 'server.mjs'], folder)
    t.teardown(() => child.kill('SIGKILL'))
    t.same(await ask(port, 'acme.localhost', '/projects'), { status: 200, body: [] })
    const made = await ask(port, 'acme.localhost', '/projects', { name: 'First' })
    t.match(made, { status: 200, body: { name: 'First', id: String, tenant_id: String } })
    t.same(await ask(port, 'acme.localhost', '/projects'), { status: 200, body: [made.body] })
    t.match(await ask(port, 'globex.localhost', '/projects'), {
      status: 404,
      body: { code: 'FST_TENANCY_TENANT_UNKNOWN' }
    })
  }
)
