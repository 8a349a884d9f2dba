// Installs the packed packages beside the first and the last version of each supported peer, and
// runs a small application on each set. Then bundles it, and runs Keyv's own suite on a tenant's
// cache. Needs the registry. `npm run test:peers`
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { pack, peerRanges, run, type Package } from './pack.ts'
import { root } from './sources.ts'

const work = mkdtempSync(join(tmpdir(), 'test-peers-'))
const smoke = join(root, '.ci/smoke')
const env = { ...process.env, REDIS_URL: process.env.TEST_REDIS_URL ?? '' }

/** Versions of all peers, by the name of the set. */
function sets (): Map<string, string[]> {
  const peers = [...peerRanges()]
  const rows = Math.max(...peers.map(([, { lowest }]) => lowest.length))
  const found = new Map<string, string[]>()
  for (let row = 0; row < rows; row++) {
    found.set(
      row === 0 ? 'lowest' : `lowest of alternative ${row + 1}`,
      peers.map(([peer, { lowest }]) => `${peer}@${lowest[Math.min(row, lowest.length - 1)]}`)
    )
  }
  return found.set('highest', peers.map(([peer, { range }]) => `${peer}@${range}`))
}

async function install (
  name: string,
  packages: readonly Package[],
  others: readonly string[]
): Promise<string> {
  const project = join(work, name.replaceAll(' ', '-'))
  mkdirSync(project)
  writeFileSync(join(project, 'package.json'), JSON.stringify({ private: true, type: 'module' }))
  await run('npm', ['install', '--no-audit', '--no-fund', '--ignore-scripts', '--loglevel=error',
    ...packages.map(({ tarball }) => tarball), ...others], project)
  copyFileSync(join(smoke, 'app.js'), join(project, 'app.js'))
  return project
}

async function smokeTest (project: string, app: string): Promise<void> {
  const output = await run(process.execPath, [app, 'limits.json'], project, env)
  if (!output.includes('smoke: ok'))
    throw new Error(`the application did not say that it is well:\n${output}`)
}

async function bundled (project: string): Promise<void> {
  const banner = "import { createRequire as makeRequire } from 'node:module'; " +
    'const require = makeRequire(import.meta.url);'
  await run(join(root, 'node_modules/.bin/esbuild'), ['app.js', '--bundle', '--platform=node', '--format=esm',
    '--outfile=bundle/app.mjs', '--external:@electric-sql/pglite', `--banner:js=${banner}`,
    '--log-level=error'], project)
  await smokeTest(project, 'bundle/app.mjs')
}

async function keyvSuite (packages: readonly Package[]): Promise<void> {
  for (const [version, keyv] of [['5', 'keyv@5'], ['6', 'keyv@6']] as const) {
    const project = await install(`keyv ${version}`, packages, ['fastify@5', 'ioredis@6', 'vitest@4',
      '@keyv/test-suite@2', 'keyv@5', `keyv-tested@npm:${keyv}`])
    copyFileSync(join(smoke, 'keyv.test.js'), join(project, 'keyv.test.js'))
    // Keyv 6 answers a list of keys with a list, but its suite is that of Keyv 5 and takes one
    // boolean.
    const all = version === '5' ? [] : ['--testNamePattern', '^(?!.*deleteMany)']
    await run('npx', ['vitest', 'run', '--reporter=dot', ...all], project, env)
  }
}

const problems: string[] = []
async function step (name: string, does: () => Promise<unknown>): Promise<void> {
  try {
    await does()
    console.log(`ok: ${name}`)
  } catch (error) {
    problems.push(name)
    console.error(`not ok: ${name}\n${error instanceof Error ? error.message : String(error)}`)
  }
}

try {
  const packages = await pack(work)
  for (const [name, versions] of sets()) {
    await step(`${name} peers: ${versions.join(' ')}`, async () => {
      const project = await install(name, packages, versions)
      await smokeTest(project, 'app.js')
      if (name === 'highest') await bundled(project)
    })
  }
  await step("Keyv's own suite", () => keyvSuite(packages))
  process.exitCode = problems.length === 0 ? 0 : 1
} finally {
  rmSync(work, { recursive: true, force: true })
}
