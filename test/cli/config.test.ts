// The file tenancy.config.*, which the command and the application share.
import { readFileSync } from 'node:fs'
import t from 'tap'

import { folder, run } from './command.ts'

// No server listens there: a refused command fails before it connects, and any other command fails
// later.
const database = 'postgres://app:hunter2@127.0.0.1:1/nowhere'

t.test('an option that the application does not have is refused', async t => {
  const cwd = folder(t, {
    'tenancy.config.json': JSON.stringify({ database, tabels: { tenant: ['notes'] } })
  })
  t.match(await run(cwd, 'protect'), {
    code: 2,
    stderr: /options\.tabels is not a known option: remove it or mend its name/
  })
})

t.test('every option of the application may stand in the file', async t => {
  const readme = readFileSync(new URL('../../packages/fastify-tenancy/README.md', import.meta.url), 'utf8')
  const options = readme.slice(readme.indexOf('| option | default |'), readme.indexOf('## Outside a request'))
  const names = [...options.matchAll(/^\| ((?:`\w+`(?:, | or )?)+) \|/gm)].flatMap(([, cell]) =>
    [...(cell ?? '').matchAll(/`(\w+)`/g)].map(([, name]) => String(name))
  )
  t.ok(names.length >= 15, names.join())
  for (const name of names.filter(name => name !== 'database')) {
    // Each option is known, but none of these values is valid.
    const cwd = folder(t, { 'tenancy.config.json': JSON.stringify({ database, [name]: {} }) })
    t.notMatch((await run(cwd, 'list')).stderr, /is not a known option/, name)
  }
})

t.test('a file that throws, or exports no object, is a wrong configuration', async t => {
  for (
    const [content, message] of [['throw new Error("no such variable")',
      /cannot be loaded: no such variable/], ['export const options = {}',
      /has no default export that is an object/], ['export default 5',
      /has no default export that is an object/], ['export default {', /cannot be loaded/]] as const
  ) {
    t.match(
      await run(folder(t, { 'tenancy.config.ts': content }), 'list'),
      { code: 2, stderr: message },
      content
    )
  }
})

t.test('set without an option is a mistake', async t => {
  t.match(await run(folder(t), 'set', 'acme', '--database-url', database), {
    code: 2,
    stderr: /--name, --plan or --setting/
  })
})
