import assert from 'node:assert/strict'
import { readFileSync, rmSync } from 'node:fs'
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
    readonly postgres?: { readonly environment: Readonly<Record<string, string>> }
    readonly 'set-up': { readonly command: string }
  }
}

/**
 * Deploys an application as its compose.yaml does, without Docker: to new servers, or a new folder of
 * PGlite, with the variables and the set-up command of that file. Then makes a tenant with the
 * command of the README, and asks for it. Throws where one of them does not work.
 */
export async function deploy (
  folder: string,
  choices: { readonly database: string; readonly redis: boolean },
  env: NodeJS.ProcessEnv
): Promise<void> {
  const postgres = choices.database === 'postgres' ? await startPostgres() : undefined
  const redis = choices.redis ? await startRedis() : undefined
  // What `npm run dev` left there was signed with the secret of development.
  rmSync(join(folder, 'data'), { recursive: true, force: true })
  try {
    await deployTo({ postgres, redis }, folder, env)
  } finally {
    await Promise.all([postgres?.stop(), redis?.stop()])
  }
}

async function deployTo (
  { postgres, redis }: { readonly postgres: Service | undefined; readonly redis: Service | undefined },
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

  const image = compose.services.postgres?.environment
  if (postgres !== undefined && image !== undefined)
    await firstStart(postgres.url, image.POSTGRES_DB ?? '', here(image.POSTGRES_PASSWORD ?? ''))

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

/** Does what the image of PostgreSQL does at its first start. */
async function firstStart (url: string, database: string, password: string): Promise<void> {
  const client = new pg.Client(url)
  await client.connect()
  await client.query(`create database "${database}"`)
  await client.query(`alter role postgres password '${password}'`)
  await client.end()
}
