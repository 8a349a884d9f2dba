// The quickstart's process: its output when it cannot start, and how it ends.
import { spawn, type ChildProcessByStdio } from 'node:child_process'
import { once } from 'node:events'
import { connect, createServer, type AddressInfo } from 'node:net'
import type { Readable } from 'node:stream'
import t, { type Test } from 'tap'

import { freshDatabase } from '../support/fresh.ts'
import { until } from '../support/until.ts'

interface Server {
  readonly child: ChildProcessByStdio<null, Readable, Readable>
  out: string
  err: string
}

function run (t: Test, env: Record<string, string>): Server {
  const child = spawn(process.execPath, ['--conditions=@fastify-tenancy/source',
    'examples/quickstart/src/server.ts'], {
    env: {
      PATH: process.env.PATH,
      // Otherwise each process compiles 700 modules.
      NODE_COMPILE_CACHE: process.env.NODE_COMPILE_CACHE,
      PORT: '0',
      ...env
    },
    stdio: ['ignore', 'pipe', 'pipe']
  })
  t.teardown(() => child.kill('SIGKILL'))
  const server: Server = { child, out: '', err: '' }
  child.stdout.on('data', chunk => {
    server.out += chunk
  })
  child.stderr.on('data', chunk => {
    server.err += chunk
  })
  return server
}

/** A port that another server listens on. */
async function takenPort (t: Test): Promise<string> {
  const other = createServer().listen(0, '127.0.0.1')
  t.teardown(() => other.close())
  await once(other, 'listening')
  return String((other.address() as AddressInfo).port)
}

t.test(
  'CFG-08 a failed start of the quickstart is one sentence without password, exit code 1',
  { timeout: 120_000 },
  async t => {
    const DATABASE_URL = await freshDatabase(t)
    const url = 'postgres://somebody:hunter2@127.0.0.1:1/none'
    for (
      const [env, sentence] of [
        [{ LIMITS_FILE: '/nowhere/limits.json' }, /\/nowhere\/limits\.json: the file cannot be read/],
        [{ ISOLATION: 'hope' }, /isolation must be one of .* got 'hope'/],
        [{ DATABASE_URL: url }, /ECONNREFUSED/],
        [{ PORT: await takenPort(t) }, /address already in use/]
      ] as const
    ) {
      const server = run(t, { DATABASE_URL, ...env })
      const [code] = await once(server.child, 'close') as [number]
      t.equal(code, 1)
      t.match(server.err, sentence)
      t.match(server.err, /^The quickstart cannot start: [^\n]+\n$/)
      t.notMatch(server.out + server.err, /hunter2/)
    }
  }
)

t.test(
  'SHU-02 on SIGTERM the quickstart exits with 0 despite an idle client connection',
  { timeout: 120_000 },
  async t => {
    const server = run(t, { DATABASE_URL: await freshDatabase(t) })
    await until(() => server.out.includes('Server listening'), 60_000)
    const [, port] = /127\.0\.0\.1:(\d+)"/.exec(server.out) as unknown as [string, string]
    const socket = connect(Number(port), '127.0.0.1').on('error', () => {})
    t.teardown(() => socket.destroy())
    await once(socket, 'connect')
    server.child.kill('SIGTERM')
    const [code] = await once(server.child, 'exit') as [number]
    t.equal(code, 0)
  }
)
