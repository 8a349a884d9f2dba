import { createManager } from '@fastify-tenancy/manager'
import { join } from 'node:path'
import t from 'tap'

import { masker } from '../../packages/cli/src/terminal/mask.ts'
import { freshDatabase } from '../support/fresh.ts'
import { connect } from '../support/sql.ts'
import { folder, run, runBinary } from './command.ts'

const secret = 'a secret of the tests that is long enough'

const url = await freshDatabase(t)
const cwd = folder(t, {
  'limits.json': '{ "plans": { "free": {}, "pro": {} } }',
  'tenancy.config.json': JSON.stringify({
    baseDomain: 'example.com',
    database: url,
    rls: { secret },
    tables: { tenant: ['notes'] },
    rateLimit: './limits.json',
    cache: false
  })
})
const admin = await connect(t, url)
const initialised = await run(cwd, 'init')
await admin.query(
  'create table notes (tenant_id text not null, id serial, body text, primary key (tenant_id, id))'
)
const isProtected = await run(cwd, 'protect')

t.test('a database is set up and its tables protected', async t => {
  t.match(initialised, { code: 0, stdout: 'initialised\n' })
  t.match(isProtected, { code: 0, stdout: 'protected\n', stderr: '' })
})

t.test('a tenant is created, listed, shown, changed, suspended, resumed and renamed', async t => {
  t.match(
    await run(
      cwd,
      'create',
      'acme',
      '--id',
      'a-1',
      '--plan',
      'pro',
      '--name',
      'Acme',
      '--domain',
      'acme.test'
    ),
    { code: 0, stdout: /^created acme \(a-1\), active, rls\n$/, stderr: '' }
  )
  t.match(JSON.parse((await run(cwd, 'show', 'acme', '--json')).stdout), {
    id: 'a-1',
    slug: 'acme',
    plan: 'pro',
    name: 'Acme',
    domains: ['acme.test'],
    status: 'active'
  })
  t.match((await run(cwd, 'show', 'id:a-1')).stdout, /^id +a-1\nslug +acme\n/)
  t.match(
    await run(cwd, 'set', 'acme', '--plan', 'free', '--setting', 'theme=dark', '--setting', 'seats=7'),
    { code: 0 }
  )
  t.match(JSON.parse((await run(cwd, '--json', 'show', 'acme')).stdout), {
    plan: 'free',
    settings: { theme: 'dark', seats: 7 }
  })
  t.match(await run(cwd, 'suspend', 'acme'), { code: 0, stdout: /suspended/ })
  t.match(await run(cwd, 'resume', 'acme'), { code: 0, stdout: /active/ })
  t.match(await run(cwd, 'rename', 'acme', 'acme-2'), { code: 0, stdout: /^acme is now acme-2 / })
  t.match(
    (await run(cwd, 'list')).stdout,
    /^slug +status +plan +isolation +shard +id\nacme-2 +active +free +rls +default +a-1\n$/
  )
  t.match(JSON.parse((await run(cwd, 'list', '--json')).stdout), [{ slug: 'acme-2' }])
})

t.test('CLI-01 a name that can be no tenant is refused before anything is opened', async t => {
  const nowhere = folder(t)
  for (const name of ['..', '../..', 'a b', 'A', 'ünïcode', 'a/b', "a'b", 'id:a b', 'id:', '']) {
    for (const command of ['show', 'suspend', 'delete'])
      t.match(await run(nowhere, command, name), {
        code: 2,
        stdout: '',
        stderr: /invalid for argument 'tenant'/
      }, `${command} ${JSON.stringify(name)}`)
  }
  for (const name of ['--all', '-x'])
    t.match(await run(nowhere, 'suspend', name), { code: 2, stdout: '', stderr: /unknown option/ }, name)
  for (const slug of ['..', 'A', '--all', 'a b', 'ünïcode', 'xn--acme'])
    t.not((await run(cwd, 'create', slug)).code, 0, slug)
})

t.test('CLI-05 exit codes are 0, 1 and 2; only results go to stdout', async t => {
  t.match(await run(cwd, 'show', 'nobody'), {
    code: 1,
    stdout: '',
    stderr: /^error: there is no tenant nobody/
  })
  t.match(await run(cwd, 'show', 'nobody', '--json'), {
    code: 1,
    stdout: /^\{\n  "error": \{\n/,
    stderr: /^error: /
  })
  t.match(await run(cwd, 'create', 'www', '--json'), { code: 1 })
  t.match(JSON.parse((await run(cwd, 'create', 'www', '--json')).stdout), {
    error: { code: 'FST_TENANCY_TENANT_CONFLICT' }
  })
  t.match(await run(cwd, 'nonsense'), { code: 2, stdout: '' })
  t.match(await run(cwd, 'create'), { code: 2, stdout: '', stderr: /name the slug of the tenant/ })
  t.match(await run(cwd, 'create', 'x-1', '--isolation', 'magic'), { code: 2, stderr: /choices/ })
  t.match(await run(folder(t), 'list'), { code: 2, stderr: /there is no tenancy\.config/ })
  t.match(await run(folder(t, { 'tenancy.config.json': '{' }), 'list'), { code: 2, stderr: /is not JSON/ })
  t.match(await run(cwd, 'list', '--config', 'missing.json'), { code: 2, stderr: /there is no file/ })
  t.match(
    await run(
      folder(t, { 'tenancy.config.json': JSON.stringify({ database: url, isolation: 'magic' }) }),
      'list'
    ),
    { code: 2, stderr: /options\.isolation/ }
  )
  for (
    const wrong of [['nonsense'], ['create'], ['list', '--nonsense'], ['create', 'x-1', '--isolation',
      'magic'], ['show', '..'], [], ['domain'], ['purge'], ['delete', 'acme-2'], ['init', '--login',
      'postgres://app@host:notaport/x']]
  ) {
    const { code, stdout } = await run(cwd, ...wrong, '--json')
    t.equal(code, 2, wrong.join(' '))
    t.match(JSON.parse(stdout), { error: { code: 'USAGE', message: /^(?!error: )[a-z].*/ } }, wrong.join(' '))
  }
  for (
    const wrong of ['nonsense', 'postgres://app@host:notaport/x', 'postgres://app@host:99999/x',
      'mysql://host/x', '']
  ) {
    const { code, stdout } = await run(cwd, 'list', '--json', '--database-url', wrong)
    t.equal(code, 2, wrong)
    t.match(JSON.parse(stdout), {
      error: { code: 'FST_TENANCY_OPTION_INVALID', message: /^options\.database\.url must be a URL/ }
    }, wrong)
  }
  t.match(await run(cwd, '--help'), { code: 0, stdout: /^Usage: tenancy/, stderr: '' })
})

t.test('CLI-04 without a terminal an irreversible command needs --yes', async t => {
  const manager = createManager({ database: url, rls: { secret }, tables: { tenant: ['notes'] } })
  t.teardown(() => manager.close())
  await manager.create({ slug: 'doomed' })
  for (
    const argv of [['delete', 'doomed'], ['purge', 'doomed'], ['purge', '--due'], ['move', 'doomed',
      '--confirm'], ['migrate', '--down', '1', '--only', 'doomed']]
  ) {
    t.match(await run(cwd, ...argv), { code: 2, stdout: '', stderr: /add --yes/ }, argv.join(' '))
    t.equal((await manager.get({ slug: 'doomed' }))?.status, 'active', argv.join(' '))
  }
  t.match(await run(cwd, 'migrate', '--down', '1', '--only', 'doomed', '--dry-run', '--yes'), {
    code: 2,
    stderr: /for real/
  }, 'a dry run does nothing')
  t.match(await run(cwd, 'move', 'doomed', '--cancel', '--confirm', '--yes'), {
    code: 2,
    stderr: /only one of/
  })
  t.match(await run(cwd, 'delete', 'doomed', '--dry-run'), { code: 0 })
  t.equal((await manager.get({ slug: 'doomed' }))?.status, 'active')
})

t.test('CLI-03 no output contains a password or a secret', async t => {
  const away = 'postgres://someone:hunter2-and-more@127.0.0.1:1/nowhere'
  for (
    const argv of [['list', '--database-url', away], ['list', '--json', '--database-url', away], ['init',
      '--print'], ['doctor', '--json'], [`--database-ur=${away}`], ['show', away, '--json']]
  ) {
    const { stdout, stderr } = await run(cwd, ...argv)
    t.notMatch(stdout + stderr, /hunter2/, argv.join(' '))
    t.notMatch(stdout + stderr, new RegExp(secret), argv.join(' '))
  }
})

t.test('CLI-03 secrets are masked also in JSON, passwords up to the last @', async t => {
  const tricky = 'a "quoted" secret \\ of many characters'
  const mask = masker([tricky])
  for (
    const [text, shown] of [
      [JSON.stringify({ tricky }), '{"tricky":"***"}'],
      [tricky, '***'],
      ['postgres://app:p@ss@db:5432/x and redis://:word@cache/0',
        'postgres://app:***@db:5432/x and redis://:***@cache/0'],
      ['postgres://db/x?user=app&password=hunter2-and-more&sslmode=require',
        'postgres://db/x?user=app&password=***&sslmode=require'],
      ['postgres://db:5432/x, mail a@b.c', 'postgres://db:5432/x, mail a@b.c']
    ] as const
  ) t.equal(mask(text), shown)
  const { stderr } = await run(
    folder(t, { 'tenancy.config.json': '{ "rls": { "secret": hunter2 and more of it" } }' }),
    'list',
    '--json'
  )
  t.match(stderr, /is not JSON/)
  t.notMatch(stderr, /hunter2|secret/)
})

t.test("a TypeScript configuration is read, with the manager's own options beside it", async t => {
  const written = folder(t, {
    'tenancy.config.ts': `
      const database: string = ${JSON.stringify(url)}
      export default { database, rls: { secret: ${JSON.stringify(secret)} }, tables: { tenant: ['notes'] } }
      export const manager = { reserved: ['mine'] }`
  })
  t.match(await run(written, 'create', 'mine'), { code: 1, stderr: /reserved/ })
  t.match(await run(written, 'list'), { code: 0 })
  t.match(await run(folder(t, { 'tenancy.config.ts': 'export const nothing = 1' }), 'list'), {
    code: 2,
    stderr: /no default export/
  })
})

t.test('without a configuration --database-url is enough', async t => {
  t.match(await run(folder(t), 'list', '--database-url', url), { code: 0 })
})

t.test('a limits file is checked as the application does when it reads it', async t => {
  const files = folder(t, {
    'good.json': '{ "plans": { "pro": { "rpm": 600 } } }',
    'bad.yaml': 'default:\n  rpm: 0\n'
  })
  t.match(await run(files, 'limits', 'check', join(files, 'good.json')), {
    code: 0,
    stdout: /1 plan, 0 tenants/
  })
  t.match(await run(files, 'limits', 'check', join(files, 'bad.yaml')), {
    code: 1,
    stderr: /line 2.*limits\.default\.rpm/
  })
  t.match(JSON.parse((await run(files, 'limits', 'check', join(files, 'bad.yaml'), '--json')).stdout), {
    error: { code: 'FST_TENANCY_OPTION_INVALID', message: /line 2/ }
  })
  t.equal((await run(files, 'limits', 'check', join(files, 'none.json'))).code, 1)
})

t.test('the binary does what the command does, and leaves no handle open', async t => {
  t.match(await runBinary(cwd, 'list', '--json'), { code: 0, stdout: /^\[/, stderr: '' })
  t.match(await runBinary(cwd, 'nonsense'), { code: 2 })
})
