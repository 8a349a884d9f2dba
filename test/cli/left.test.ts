// Steps that a command could not do.
import t from 'tap'

import { freshDatabase } from '../support/fresh.ts'
import { connect } from '../support/sql.ts'
import { folder, run } from './command.ts'

t.test('DAT-17 init that may not harden everything says so and exits with 1', async t => {
  const url = await freshDatabase(t)
  const name = new URL(url).pathname.slice(1)
  const login = `login_${name}`
  const admin = await connect(t, url)
  await admin.query(
    `create role ${login} login createrole password 'secret'; grant create on database ${name} to ${login}`
  )
  t.teardown(async () => {
    const client = await connect(t, url.replace(/\/[^/]*$/, '/postgres'))
    await client.query(`drop role if exists ${login}`).catch(() => {})
  })
  const cwd = folder(t, {
    'tenancy.config.json': JSON.stringify({
      baseDomain: 'example.com',
      database: url,
      tables: { tenant: [] }
    })
  })
  const lesser = Object.assign(new URL(url), { username: login, password: 'secret' }).href
  const partly = await run(cwd, 'init', '--harden', '--login', lesser)
  t.match(partly, {
    code: 1,
    stdout: /^initialised, but for .+: see above\n$/,
    stderr: /only a superuser can run/
  })
  t.match(await run(cwd, 'init', '--harden', '--login', url), { code: 0, stdout: 'initialised\n' })
})
