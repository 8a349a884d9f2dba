// Runs the tests that an example shows its readers, as they run them.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import type { Test } from 'tap'

import { root } from '../../.ci/sources.ts'

/**
 * Runs a test file of an example in its folder. Fails unless at least one test ran, all passed and
 * none was skipped. Returns the output.
 */
export async function runExample (
  t: Test,
  example: string,
  file: string,
  env: Readonly<Record<string, string>> = {}
): Promise<string> {
  const child = spawn(
    process.execPath,
    ['--conditions=@fastify-tenancy/source', '--test-reporter=tap', join('test', file)],
    {
      cwd: join(root, 'examples', example),
      env: { ...process.env, ...env, NODE_TEST_CONTEXT: undefined },
      stdio: ['ignore', 'pipe', 'pipe']
    }
  )
  t.teardown(() => child.kill('SIGKILL'))
  let output = ''
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', chunk => {
      output += String(chunk)
    })
  const [code] = await once(child, 'close') as [number | null]
  t.equal(code, 0, output)
  t.match(output, /^# pass [1-9]/m, 'at least one test ran')
  for (const count of ['fail', 'cancelled', 'skipped', 'todo'])
    t.match(output, new RegExp(`^# ${count} 0$`, 'm'), output)
  return output
}
