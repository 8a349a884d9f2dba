import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseEnv } from 'node:util'
import pg from 'pg'
import { parse } from 'yaml'

import { freePort, startPostgres, startRedis, type Service } from '../test/support/services.ts'
import { startServer } from './dev-server.ts'
import { run } from './pack.ts'
import { ask } from './snippets.ts'

interface ComposeFile {
  readonly 'x-application': { readonly environment: Readonly<Record<string, string>> }
  readonly services: {
    readonly postgres: { readonly environment: Readonly<Record<string, string>> }
    readonly 'set-up': { readonly command: string }
  }
}

/**
 * Deploys an application as its compose.yaml does, without Docker: to a new PostgreSQL with the
 * variables, the login of the administrator and the command of that file. Then makes a tenant with the
 * command of the README, and asks for it. Throws where one of them does not work.
 */
export async function deploy (
  folder: string,
  { redis }: { readonly redis: boolean },
  env: NodeJS.ProcessEnv
): Promise<void> {
  const services: Service[] = [await startPostgres(), ...redis ? [await startRedis()] : []]
  try {
    await deployTo(services, folder, env)
  } finally {
    await Promise.all(services.map(service => service.stop()))
  }
}

async function deployTo (
  [postgres, redis]: readonly Service[],
  folder: string,
  outer: NodeJS.ProcessEnv
): Promise<void> {
  const secrets = parseEnv(readFileSync(join(folder, '.env'), 'utf8')) as Record<string, string>
  const here = (text: string): string =>
    text
      .replaceAll(/\$\{(\w+)(?::([-?])([^}]*))?\}/g, (_, name: string, sign: string, other: string) => {
        const value = secrets[name] ?? (sign === '-' ? other : undefined)
        assert(value !== undefined, `.env has no ${name}`)
        return value
      })
      .replaceAll('postgres:5432', `127.0.0.1:${postgres?.port}`)
      .replaceAll('redis:6379', `127.0.0.1:${redis?.port}`)
  const compose = parse(readFileSync(join(folder, 'compose.yaml'), 'utf8'), { merge: true }) as ComposeFile
  const env: NodeJS.ProcessEnv = { ...outer, NODE_ENV: 'production', PORT: String(await freePort()) }
  for (const [name, text] of Object.entries(compose['x-application'].environment)) env[name] = here(text)

  // What the image of PostgreSQL does at its first start.
  const { POSTGRES_DB = '', POSTGRES_PASSWORD = '' } = compose.services.postgres.environment
  const client = new pg.Client(postgres?.url)
  await client.connect()
  await client.query(`create database "${POSTGRES_DB}"`)
  await client.query(`alter role postgres password '${here(POSTGRES_PASSWORD)}'`)
  await client.end()

  await run(
    'sh',
    ['-c', here(compose.services['set-up'].command).replace(/^sh -c "(.*)"$/, '$1')],
    folder,
    env
  )
  await run('npx', ['tenancy', 'create', 'acme', '--name', 'Acme'], folder, env)
  const server = await startServer('npm start', folder, env)
  try {
    assert.deepEqual((await ask(server.port, 'any.where', '/ready')).body, { status: 'ok' })
    const made = await ask(server.port, 'acme.localhost', '/projects', { name: 'First' })
    assert.equal(made.status, 201, JSON.stringify(made.body))
    assert.deepEqual((await ask(server.port, 'acme.localhost', '/projects')).body, [made.body])
    assert.equal((await ask(server.port, 'globex.localhost', '/projects')).status, 404)
  } finally {
    await server.stop()
  }
}
