// The README of the example existing-app: its commands, one after the other, on an empty database.
import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'

import { ask, serve } from '../../.ci/snippets.ts'
import { root } from '../../.ci/sources.ts'
import { freshDatabase } from '../support/fresh.ts'
import { loginUrl } from '../support/urls.ts'

const run = promisify(execFile)
const folder = join(root, 'examples/existing-app')
const DATABASE_URL = await freshDatabase(t)
Object.assign(process.env, {
  DATABASE_URL,
  OLD_URL: loginUrl(DATABASE_URL, 'old'),
  APP_URL: loginUrl(DATABASE_URL, 'app')
})

/** Returns the commands of a section, without those that start or test something. */
function commandsOf (section: number): string[] {
  const [, text = ''] = new RegExp(`^## ${section}\\. [^]*?^\`\`\`sh\n([^]*?)^\`\`\``, 'm')
    .exec(readFileSync(join(folder, 'README.md'), 'utf8')) ?? []
  return text.split('\n').filter(line => line.startsWith('npx ') || line.startsWith('npm run '))
}

async function walk (section: number): Promise<void> {
  const commands = commandsOf(section)
  t.ok(commands.length > 0, `section ${section} has commands`)
  for (const command of commands)
    await run('sh', ['-c', command.replace(/^npx /, 'npx --no-install ')], { cwd: folder })
}

async function served (version: string, host: string, path: string): Promise<unknown> {
  const { child, port } = await serve(
    ['--conditions=@fastify-tenancy/source', 'src/server.ts', version],
    folder
  )
  try {
    return (await ask(port, host, path)).body
  } finally {
    child.kill('SIGTERM')
  }
}

t.test('the commands of the README adopt the application', { timeout: 300_000 }, async t => {
  await walk(0)
  const [task] = await served('old', 'globex.localhost', '/tasks') as { id: string; title: string }[]
  const path = `/tasks/${task?.id}`
  t.same(await served('old', 'acme.localhost', path), task, "control: the old code shows another's task")
  await walk(1)
  t.same(await served('old', 'acme.localhost', path), task, 'old code works as before')
  await walk(2)
  t.match(await served('between', 'acme.localhost', path), { statusCode: 404 })
  t.equal((await served('between', 'acme.localhost', '/tasks') as object[]).length, 30)
  await walk(3)
  t.match(await served('new', 'acme.localhost', path), { statusCode: 404 })
  t.same(await served('new', 'globex.localhost', path), task)
  t.match(await served('old', 'acme.localhost', '/tasks'), { statusCode: 500 })
})
