import assert from 'node:assert/strict'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

import { run, type Package } from './pack.ts'
import { ask, installLine, namedSnippets, serve } from './snippets.ts'
import { root } from './sources.ts'

const readme = join(root, 'packages/fastify-tenancy/README.md')

/**
 * Follows the README of the suite in an empty project with the tarballs: install line, snippet, requests.
 * Drivers come as npm brings them, as peers of the packages. Throws where the README does not hold.
 */
export async function followReadme (packages: readonly Package[], project: string): Promise<void> {
  mkdirSync(project)
  for (const [name, code] of namedSnippets(readme)) writeFileSync(join(project, name), code)
  const names = new Set(packages.map(({ name }) => name))
  const others = installLine(readme).filter(name => !names.has(name))
  // A tarball asks for the others by version, which no registry has yet: all are given.
  const tarballs = packages.map(({ tarball }) => tarball)
  const quietly = ['--no-audit', '--no-fund', '--loglevel=error']
  await run('npm', ['install', ...quietly, ...others, ...tarballs], project)

  const { child, port } = await serve(['server.mjs'], project)
  try {
    const made = await ask(port, 'acme.localhost', '/projects', { name: 'First' })
    assert.equal(made.status, 200, JSON.stringify(made.body))
    assert.deepEqual((await ask(port, 'acme.localhost', '/projects')).body, [made.body])
    assert.equal((await ask(port, 'globex.localhost', '/projects')).status, 404)
  } finally {
    child.kill('SIGKILL')
  }
}
