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
  const counts = ['pass', 'fail', 'cancelled', 'skipped', 'todo'].map(name =>
    Number(new RegExp(`^# ${name} (\\d+)$`, 'm').exec(output)?.[1])
  )
  t.ok(code === 0 && Number(counts[0]) > 0, `${example}/${file} passes: ${code === 0 ? '' : output}`)
  t.same(counts.slice(1), [0, 0, 0, 0], 'no test failed or was left out')
  return output
}
