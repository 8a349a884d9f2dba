// The runner of npm test, run on small projects of its own.
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import t, { type Test } from 'tap'

import { noRedis } from '../support/fresh.ts'
import { temporaryFolder } from '../support/services.ts'
import { until } from '../support/until.ts'

const runner = join(import.meta.dirname, '../../.ci/test.ts')
const bin = join(import.meta.dirname, '../../node_modules/.bin')
const good = "import t from 'tap'\nt.equal(1, 1)\n"

interface Run {
  readonly child: ChildProcess
  readonly output: { out: string; err: string }
  readonly ended: Promise<number | null>
}

// Not beside this file: in a private checkout PostgreSQL's user could not reach the folder.
function projectIn (t: Test, files: Record<string, string>): string {
  const folder = temporaryFolder()
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text)
  symlinkSync(join(import.meta.dirname, '../../node_modules'), join(folder, 'node_modules'))
  return folder
}

function run (
  t: Test,
  source: string,
  env: Record<string, string | undefined> = {}
): Run & { folder: string } {
  const folder = projectIn(t, {
    'package.json': '{ "type": "module" }',
    '.taprc': 'type-strip-only: true\ninclude: ["*.test.ts"]\n',
    'x.test.ts': source
  })
  const { TEST_DATABASE_URL, TEST_REDIS_URL, NODE_COMPILE_CACHE } = process.env
  const child = spawn(process.execPath, [runner, '--disable-coverage', '--allow-empty-coverage'], {
    cwd: folder,
    env: {
      PATH: [bin, process.env.PATH].join(delimiter),
      HOME: folder,
      TMPDIR: folder,
      TEST_DATABASE_URL,
      TEST_REDIS_URL,
      NODE_COMPILE_CACHE,
      ...env
    }
  })
  const output = { out: '', err: '' }
  child.stdout?.setEncoding('utf8').on('data', chunk => {
    output.out += chunk
  })
  child.stderr?.setEncoding('utf8').on('data', chunk => {
    output.err += chunk
  })
  t.teardown(() => child.kill('SIGTERM'))
  return { folder, child, output, ended: once(child, 'close').then(([code]) => code) }
}

const lastLine = ({ out }: { out: string }): string | undefined => out.trimEnd().split('\n').at(-1)
const withoutRedisServer = { TEST_REDIS_URL: undefined, PATH: bin }

t.test('a good run ends with its counts and exit code 0', async t => {
  const { output, ended } = run(
    t,
    `${good}t.test('later', { skip: 'needs what is not there' }, async () => {})`,
    { TEST_REDIS_URL: 'redis://127.0.0.1:1' }
  )
  t.equal(await ended, 0, output.err)
  t.match(output.out, 'Skipped, 1 test: needs what is not there\n')
  t.equal(lastLine(output), '1 passed, 0 failed, 1 skipped')
})

t.test('a failing test shows its difference, and the run exits with 1', async t => {
  const { output, ended } = run(t, `${good}t.test('a sum', async t => { t.equal(1 + 1, 3, 'adds up') })`, {
    TEST_REDIS_URL: 'redis://127.0.0.1:1'
  })
  t.equal(await ended, 1)
  t.equal(lastLine(output), '1 passed, 1 failed, 0 skipped')
  t.match(output.out, /# Subtest: x\.test\.ts\n +# Subtest: a sum\n +not ok 1 - adds up\n[^]*-3\n +\+2\n/)
  t.notMatch(output.out, /ok 1 - should be equal/, 'what passed is not shown')
})

t.test('a test file that crashes fails the run', async t => {
  const { output, ended } = run(t, "throw new Error('boom')", { TEST_REDIS_URL: 'redis://127.0.0.1:1' })
  t.equal(await ended, 1)
  t.equal(lastLine(output), '0 passed, 1 failed, 0 skipped')
  t.match(output.err, /Error: boom/)
})

t.test('without redis-server its tests are skipped with one line', async t => {
  const { output, ended } = run(
    t,
    "import t from 'tap'\nt.test('x', { skip: process.env.TEST_REDIS_URL ? false : 'needs redis' }, " +
      'async t => { t.pass() })',
    withoutRedisServer
  )
  t.equal(await ended, 0)
  t.equal(lastLine(output), '0 passed, 0 failed, 1 skipped')
  t.equal(
    output.err,
    'No redis-server on PATH (Debian: apt-get install redis-server): its tests are skipped.\n'
  )
})

t.test('without redis-server and with CI=true the run fails with one line', async t => {
  const { output, ended } = run(t, good, { ...withoutRedisServer, CI: 'true' })
  t.equal(await ended, 1)
  t.equal(
    output.err,
    'No redis-server on PATH (Debian: apt-get install redis-server): with CI=true its tests must run.\n'
  )
})

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  t.test(`${signal} in the middle leaves no process and no folder behind`, {
    skip: noRedis,
    timeout: 300_000
  }, async t => {
    const source = "import t from 'tap'\nimport { spawn } from 'node:child_process'\nspawn('sleep', " +
      "['600'])\nconsole.error('hangs')\nawait new Promise(resolve => setTimeout(resolve, " +
      '600_000))\nt.pass()'
    const { folder, child, output, ended } = run(t, source, {
      TEST_DATABASE_URL: undefined,
      TEST_REDIS_URL: undefined
    })
    // Creating a database and loading tap take up to half a minute on a busy machine.
    await until(() => output.err.includes('hangs'), 240_000)
    t.ok(processesIn(folder).length >= 3, 'control: PostgreSQL, Redis and the test are running')
    child.kill(signal)
    t.equal(await ended, 130)
    await until(() => processesIn(folder).length === 0)
    t.same(readdirSync(folder).filter(name => name.startsWith('fastify-tenancy-')), [])
  })
}

/** Returns the processes whose command line or working directory contains this folder. */
function processesIn (folder: string): string[] {
  return readdirSync('/proc').filter(pid => /^\d+$/.test(pid)).flatMap(pid => {
    try {
      const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ')
      const environment = readFileSync(`/proc/${pid}/environ`, 'utf8')
      return command.includes(folder) || environment.includes(`=${folder}/fastify-tenancy-`) ? [command] : []
    } catch {
      return []
    }
  })
}
