// Makes applications with `npm create fastify-tenancy` from the packed packages: one for each row of
// a table that holds every pair of choices. Each is installed, type-checked, tested, served, and
// deployed as its compose.yaml says. Then follows the guide "A first application". Needs the registry.
// `npm run test:create [-- <pattern of names>]`
import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { freePort } from '../test/support/services.ts'
import { deploy } from './deploy-created.ts'
import { startServer } from './dev-server.ts'
import { followGuide } from './follow-guide.ts'
import { startRegistry } from './local-registry.ts'
import { pack, run } from './pack.ts'
import { allPairs } from './pairs.ts'
import { ask } from './snippets.ts'
import { root } from './sources.ts'

interface Choices {
  readonly strategy: string
  readonly database: string
  readonly redis: boolean
  readonly language: 'ts' | 'js'
}

const values = {
  strategy: ['rls', 'row', 'schema', 'database'],
  database: ['postgres', 'pglite'],
  redis: [true, false],
  language: ['ts', 'js']
}
const guide = join(root, 'packages/fastify-tenancy/docs/first-application.md')
const only = new RegExp(process.argv[2] ?? '')
const work = mkdtempSync(join(tmpdir(), 'test-create-'))
const problems: string[] = []
// What npm sets for this process would reach the npm of the applications.
const { NODE_OPTIONS: _, ...outer } = process.env
const clean = Object.fromEntries(Object.entries(outer).filter(([name]) => !name.startsWith('npm_')))

async function step (name: string, work: () => Promise<unknown>): Promise<void> {
  const start = performance.now()
  const seconds = (): string => ((performance.now() - start) / 1_000).toFixed(1)
  try {
    await work()
    console.log(`ok: ${name} (${seconds()} s)`)
  } catch (error) {
    problems.push(name)
    console.error(
      `not ok: ${name} (${seconds()} s)\n${error instanceof Error ? error.message : String(error)}`
    )
  }
}

/** Makes, installs, checks and tests one application, as its user does. */
async function tryOut (name: string, choices: Choices, env: NodeJS.ProcessEnv): Promise<void> {
  const { strategy, database, redis, language } = choices
  await run(
    'npm',
    ['create', 'fastify-tenancy@latest', name, '--', '--strategy', strategy, '--database', database,
      redis ? '--redis' : '--no-redis', '--language', language],
    work,
    env
  )
  const folder = join(work, name)
  await run('npm', ['install', '--no-audit', '--no-fund', '--loglevel=error'], folder, env)
  await typeCheck(folder, language, env)
  assert.match(await run('npm', ['test'], folder, env), /0 leaks, 0 not tried/)
  await serveAndAsk(folder, env)
  await deploy(folder, choices, env)
}

async function typeCheck (folder: string, language: string, env: NodeJS.ProcessEnv): Promise<void> {
  if (language === 'ts') return void await run('npm', ['run', 'typecheck'], folder, env)
  // JavaScript has no annotations, so it is checked as far as types can be inferred.
  await run(
    process.execPath,
    [join(root, 'node_modules/typescript/lib/tsc.js'), '--allowJs', '--checkJs', '--noEmit', '--skipLibCheck',
      '--strict', 'false', '--module', 'nodenext', '--target', 'es2024', '--types', 'node', '--typeRoots',
      join(root, 'node_modules/@types'), 'src/dev.js', 'test/isolation.test.js'],
    folder,
    env
  )
}

async function serveAndAsk (folder: string, env: NodeJS.ProcessEnv): Promise<void> {
  const server = await startServer('npm run dev', folder, { ...env, PORT: String(await freePort()) })
  try {
    const made = await ask(server.port, 'acme.localhost', '/projects', { name: 'First' })
    assert.equal(made.status, 201, JSON.stringify(made.body))
    const { id } = made.body as { id: string }
    assert.deepEqual((await ask(server.port, 'acme.localhost', '/projects')).body, [made.body])
    assert.deepEqual((await ask(server.port, 'globex.localhost', '/projects')).body, [])
    assert.equal((await ask(server.port, 'globex.localhost', `/projects/${id}`)).status, 404)
    const unknown = await ask(server.port, 'initech.localhost', '/projects')
    assert.deepEqual([unknown.status, (unknown.body as { code: string }).code], [404,
      'FST_TENANCY_TENANT_UNKNOWN'])
  } finally {
    await server.stop()
  }
}

try {
  const tarballs = join(work, 'tarballs')
  mkdirSync(tarballs)
  const registry = await startRegistry(await pack(tarballs))
  // The user answers `y` when npm asks whether to install create-fastify-tenancy.
  const env = { ...clean, npm_config_registry: registry.url, npm_config_yes: 'true' }
  for (const row of allPairs(values)) {
    const choices = row as unknown as Choices
    const { strategy, database, redis, language } = choices
    const name = [strategy, database, ...redis ? ['redis'] : [], language].join('-')
    if (only.test(name)) await step(name, () => tryOut(name, choices, env))
  }
  if (only.test('guide')) {
    const folder = join(work, 'guide')
    mkdirSync(folder)
    await step(
      "the newcomer's path: A first application",
      () =>
        followGuide(guide, folder, env, (command, seconds) => {
          console.log(`    ${seconds.toFixed(1).padStart(6)} s  ${command}`)
        })
    )
  }
  registry.close()
  process.exitCode = problems.length === 0 ? 0 : 1
} finally {
  rmSync(work, { recursive: true, force: true })
}
