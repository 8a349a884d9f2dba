// Start, section 7, and docs/operations.md as an operator follows them. Each command runs in a shell
// as the page has it, beside a running application, and prints what the page says.
import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'

import { commandsOf, difference } from '../../.ci/console.ts'
import { ask, namedSnippets, serve } from '../../.ci/snippets.ts'
import { root } from '../../.ci/sources.ts'
import { noDump } from '../manager/restored-databases-fixture.ts'
import { freshDatabase, noRedis } from '../support/fresh.ts'
import { startPostgresVersion } from '../support/services.ts'
import { connect } from '../support/sql.ts'

const pages = join(root, 'packages/fastify-tenancy/docs')
const [start, operate] = [join(pages, 'start.md'), join(pages, 'operations.md')]
const condition = '--conditions=@fastify-tenancy/source'
const skip = noDump || noRedis

t.test('Start and Operate on a server', { skip, timeout: 800_000 }, async t => {
  const folder = t.testdir({
    'package.json': '{ "type": "module" }',
    bin: {
      tenancy: `#!/bin/sh\nexec '${process.execPath}' ${condition} '${
        join(root, 'packages/cli/src/bin.ts')
      }' "$@"\n`,
      npx: '#!/bin/sh\nexec "$@"\n'
    }
  })
  await promisify(execFile)('chmod', ['+x', join(folder, 'bin/tenancy'), join(folder, 'bin/npx')])
  symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'))
  // Logins belong to a whole server, so these have a prefix of their own.
  const prefix = `s${randomBytes(4).toString('hex')}_`
  for (const [name, code] of namedSnippets(start)) {
    mkdirSync(dirname(join(folder, name)), { recursive: true })
    writeFileSync(join(folder, name), code.replaceAll("'shop_", `'${prefix}`))
  }

  const old = await startPostgresVersion(15)
  t.teardown(() => old.stop())
  const newUrl = await freshDatabase(t)
  t.teardown(async () => {
    const admin = await connect(t, newUrl)
    const { rows } = await admin.query<{ name: string }>(
      'select rolname as name from pg_roles where rolname like $1',
      [
        `${prefix}%`
      ]
    )
    for (const { name } of rows) await admin.query(`drop owned by "${name}"; drop role "${name}"`)
  })
  const urlOf = (database: string): string =>
    Object.assign(new URL(old.url), { pathname: `/${database}` }).href
  await (await connect(t, old.url)).query('create database shop')

  const env: Record<string, string | undefined> = {
    ...process.env,
    PATH: `${join(folder, 'bin')}:${process.env.PATH}`,
    DATABASE_PASSWORD: 'a password for trying it out',
    REDIS_URL: process.env.TEST_REDIS_URL,
    TENANCY_SECRET: randomBytes(16).toString('hex'),
    RESTORED_URL: urlOf('shop_restored'),
    NEW_SUPERUSER_URL: newUrl,
    ...placeOf(urlOf('shop'))
  }

  /** Runs the commands of a section, or those that fit, as the page has them. */
  async function follow (page: string, section: string, only: RegExp = /./): Promise<void> {
    const commands = commandsOf(page, section)
      .filter(({ command }) => only.test(command) && !/^(?:npm install|node main)/.test(command))
    t.ok(commands.length > 0, section)
    for (const printed of commands) {
      const ended = await promisify(execFile)('sh', ['-c', printed.command], { cwd: folder, env })
        .catch((error: { stdout: string; stderr: string }) => {
          t.same(unexpected(error.stderr), [], printed.command)
          return error
        })
      const problem = /^(?:npx )?tenancy /.test(printed.command)
        ? difference(printed, ended.stdout)
        : undefined
      t.equal(problem, undefined, printed.command)
    }
  }
  const startApplication = async (): Promise<Awaited<ReturnType<typeof serve>>> => {
    const served = await serve([condition, 'main.ts'], folder, env)
    t.teardown(() => served.child.kill('SIGKILL'))
    return served
  }

  await follow(start, '7. On a server')
  let { child, port } = await startApplication()
  const made = await ask(port, 'acme.localhost', '/projects', { name: 'Secret Project' })
  t.equal(made.status, 201)
  t.same((await ask(port, 'globex.localhost', '/projects')).body, [])

  await follow(operate, 'Back up')
  const shop = await connect(t, urlOf('shop'))
  await shop.query('delete from projects')
  t.same(await projects(port), [], 'control: the row is gone')
  await follow(operate, 'Restore one tenant', /createdb|pg_restore|RESTORED|dropdb/)
  t.same(await projects(port), [made.body])

  child.kill('SIGTERM')
  await shop.end()
  const upgrade = commandsOf(operate, 'Upgrade PostgreSQL').map(({ command }) => command)
  t.match(upgrade, [/^pg_dump /, /^pg_restore /, /^tenancy init /])
  await follow(operate, 'Upgrade PostgreSQL', /^pg_/)
  Object.assign(env, placeOf(newUrl))
  await follow(operate, 'Upgrade PostgreSQL', /^tenancy/)
  ;({ child, port } = await startApplication())
  t.same(await projects(port), [made.body], 'the tenant is served from the new server')

  const stop = new AbortController()
  const load = (async () => {
    while (!stop.signal.aborted) await projects(port)
  })()
  await follow(operate, 'Find and stop a noisy tenant', /top/)
  stop.abort()
  await load
  await follow(operate, 'Find and stop a noisy tenant', /^echo|limits check/)
  let status = 200
  for (let sent = 0; sent < 500 && status === 200; sent++)
    ({ status } = await ask(port, 'acme.localhost', '/projects'))
  t.equal(status, 429, 'the limit counts without a restart')
  await follow(operate, 'Find and stop a noisy tenant', /suspend|resume/)

  await follow(operate, "Is anyone seeing anyone's data?")
  await follow(operate, 'Move a tenant')
  t.same((await ask(port, 'globex.localhost', '/projects')).body, [])
  child.kill('SIGTERM')
})

/** Errors of a command other than those that the page announces for pg_restore. */
function unexpected (stderr: string): string[] {
  const errors = stderr.split('\n').filter(line => line.includes('error: '))
  const others = errors.filter(line => !/ERROR:  role "tenancy_\w+" does not exist/.test(line))
  return errors.length === 0 ? [stderr] : others
}

async function projects (port: number): Promise<unknown> {
  return (await ask(port, 'acme.localhost', '/projects')).body
}

/** What the configuration of Start reads of a database's address, and the URL of its superuser. */
function placeOf (url: string): Record<string, string> {
  const { host, pathname } = new URL(url)
  return { DATABASE_HOST: host, DATABASE_NAME: pathname.slice(1), SUPERUSER_URL: url }
}
