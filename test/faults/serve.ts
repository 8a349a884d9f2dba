// A server in a process of its own, and its clients.
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { Agent, request } from 'node:http'
import type { Test } from 'tap'

import { provision, testSecret, type Provisioned } from '../support/tenants.ts'
import { until } from '../support/until.ts'

export const slugs = ['acme', 'globex'] as const

export interface Answer {
  /** The status, or 0 if the connection was refused or closed. */
  readonly status: number
  readonly body: string
  readonly retryAfter: string | undefined
}

export interface Server {
  /** Number of requests that have arrived. */
  readonly running: () => number
  get(slug: string, path: string, agent?: Agent): Promise<Answer>
  readonly isAlive: () => boolean
  /** Sends SIGTERM and resolves to the exit code. */
  end(): Promise<number | null>
}

const none: Answer = { status: 0, body: '', retryAfter: undefined }

/** Starts server.ts on a provisioned database; killed when the test ends. */
export async function serve (t: Test, on: Provisioned, env: Record<string, string> = {}): Promise<Server> {
  const child = fork('test/faults/server.ts', {
    execArgv: ['--conditions=@fastify-tenancy/source'],
    env: {
      PATH: process.env.PATH,
      NODE_COMPILE_CACHE: process.env.NODE_COMPILE_CACHE,
      NODE_OPTIONS: process.env.NODE_OPTIONS,
      TENANCY_TEST_DEATHS: process.env.TENANCY_TEST_DEATHS,
      DATABASE_URL: on.url,
      SECRET: testSecret,
      ...env
    },
    stdio: ['ignore', 'inherit', 'inherit', 'ipc']
  })
  t.teardown(() => child.kill('SIGKILL'))
  let running = 0
  let port = 0
  child.on('message', (message: { running?: number; port?: number }) => {
    running = message.running ?? running
    port = message.port ?? port
  })
  await until(() => port > 0 || child.exitCode !== null, 30_000)
  return {
    running: () => running,
    isAlive: () => child.exitCode === null && child.signalCode === null,
    get: (slug, path, agent = new Agent()) =>
      new Promise(resolve => {
        request(
          { host: '127.0.0.1', port, path, agent, headers: { host: `${slug}.example.com` } },
          response => {
            let body = ''
            response.setEncoding('utf8').on('data', chunk => {
              body += chunk
            }).on('end', () =>
              resolve({
                status: response.statusCode ?? 0,
                body,
                retryAfter: response.headers['retry-after']
              })).on('error', () => resolve({ ...none, body }))
          }
        ).on('error', () => resolve(none)).end()
      }),
    async end () {
      const exited = once(child, 'exit') as Promise<[number | null]>
      child.kill('SIGTERM')
      return (await exited)[0]
    }
  }
}

/** A database with three notes of each tenant of server.ts. */
export async function withNotes (t: Test): Promise<Provisioned> {
  const on = await provision(t)
  await on.admin(
    "insert into notes (tenant_id, body) select 'id-' || tenant, tenant || ':' || n " +
      "from unnest(array['acme', 'globex']) tenant, generate_series(1, 3) n"
  )
  return on
}
