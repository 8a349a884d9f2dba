// The isolation test that the quickstart shows its readers, as they run it.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import t from 'tap'

import { freshDatabase } from '../support/fresh.ts'

const file = join(import.meta.dirname, '../../examples/quickstart/test/isolation.test.ts')

t.test('ISO-KIT the quickstart keeps its tenants apart, and its report names every route', async t => {
  const { NODE_OPTIONS: _, ...env } = process.env
  const child = spawn(process.execPath, ['--test', '--test-reporter=spec', file], {
    env: { ...env, DATABASE_URL: await freshDatabase(t), NODE_TEST_CONTEXT: undefined },
    stdio: ['ignore', 'pipe', 'pipe']
  })
  let output = ''
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', chunk => {
      output += String(chunk)
    })
  const [code] = await once(child, 'close')
  t.equal(code, 0, output)
  t.match(output, /0 leaks, 0 not tried, of 1\d routes/)
  for (
    const route of ['GET /me', 'POST /projects', 'DELETE /projects/:id', 'GET /projects/:id/tasks',
      'GET /stats', 'table projects', 'table tasks', 'cache']
  )
    t.ok(new RegExp(`^${route.replaceAll('/', '\\/')} +[1-9]\\d* +[1-9]`, 'm').test(output), route)
})
