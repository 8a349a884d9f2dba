// What the user reads when the server refuses a statement.
import t from 'tap'

import { freshDatabase } from '../support/fresh.ts'
import { connect, loginUrl } from '../support/sql.ts'
import { folder, run } from './command.ts'

const url = await freshDatabase(t)
const admin = await connect(t, url)
const app = loginUrl(url, 'app')
const config = (database: object): string =>
  folder(t, {
    'tenancy.config.json': JSON.stringify({ baseDomain: 'example.com', database, tables: { tenant: [] } })
  })
const cwd = config({ url: app, ownerUrl: url })
await run(cwd, 'init')
await run(cwd, 'create', 'acme')

t.test('a server error is printed with shard, login, command and the next step', async t => {
  const lesser = await run(config({ url: app }), 'suspend', 'acme')
  t.match(lesser, { code: 1, stdout: '' })
  t.match(
    lesser.stderr,
    new RegExp(
      /^error: tenancy suspend acme failed: shard 'default', database '\w+' on \S+ /.source +
        /as login 'login_app_\w+': permission denied .*\(SQLSTATE 42501\): run `tenancy init`/.source
    )
  )
  t.notMatch(lesser.stderr, /secret of app/)
})

t.test("a trigger's error names the tenant and the command to repeat", async t => {
  await admin.query(`
    create function refuse() returns trigger language plpgsql
    as $$ begin raise exception 'not on Sundays'; end $$;
    create trigger refuse before update on tenancy.tenants for each row execute function refuse()`)
  for (const command of ['suspend', 'rename']) {
    const argv = command === 'rename' ? [command, 'acme', 'acme-2'] : [command, 'acme']
    const { code, stderr } = await run(cwd, ...argv)
    t.equal(code, 1)
    t.match(stderr, /shard 'default', database .* as login .*not on Sundays \(SQLSTATE P0001\)/)
    t.match(stderr, new RegExp(`run \`tenancy ${argv.join(' ')}\` again`))
  }
  await admin.query('drop trigger refuse on tenancy.tenants')
})

t.test('a lock timeout is reported as other work in the way', async t => {
  await admin.query('begin; lock table tenancy.audit in access exclusive mode')
  const login = new URL(url)
  login.searchParams.set('options', '-c lock_timeout=200')
  const { code, stderr } = await run(config({ url: app, ownerUrl: login.href }), 'audit')
  await admin.query('rollback')
  t.equal(code, 1)
  t.match(
    stderr,
    /^error: tenancy audit failed: shard 'default', .*55P03\): concurrent work .*: run `tenancy audit` again/
  )
})
