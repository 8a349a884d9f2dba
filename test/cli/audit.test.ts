// `tenancy audit`: what was done to tenants and by which login, including tenants that are gone.
import t from 'tap'

import { freshDatabase } from '../support/fresh.ts'
import { connect } from '../support/sql.ts'
import { folder, run, type Ended } from './command.ts'

const url = await freshDatabase(t)
const admin = await connect(t, url)
const cwd = folder(t, {
  'tenancy.config.json': JSON.stringify({ baseDomain: 'example.com', database: url, tables: { tenant: [] } })
})
const done: Ended[] = []
for (
  const argv of [['init'], ['create', 'acme', '--id', 'a-1'], ['create', 'globex'], ['suspend', 'acme'], [
    'resume',
    'acme'
  ], ['create', 'gone', '--id', 'g-1'], ['delete', 'gone', '--yes'], ['purge', 'gone', '--yes']]
) done.push(await run(cwd, ...argv))

interface Entry {
  readonly at: string
  readonly tenant: string
  readonly slug?: string
  readonly action: string
  readonly actor: string
}

async function entries (...argv: string[]): Promise<Entry[]> {
  return JSON.parse((await run(cwd, 'audit', ...argv, '--json')).stdout) as Entry[]
}

t.test('the audit of one tenant has its actions in their order, with time and login', async t => {
  t.same(done.map(({ code }) => code), done.map(() => 0))
  const found = await entries('acme')
  t.same(found.map(({ action }) => action), ['create', 'suspend', 'resume'])
  for (const entry of found) {
    t.match(entry, { tenant: 'a-1', slug: 'acme', actor: new URL(url).username || String })
    t.ok(Date.now() - Date.parse(entry.at) < 600_000)
  }
  const { stdout } = await run(cwd, 'audit', 'acme')
  t.match(stdout, /^at +tenant +action +by +details\n20\S+Z +acme +create /)
})

t.test('without a tenant all are there, a purged one under its id', async t => {
  t.same(new Set((await entries()).map(({ tenant, slug }) => slug ?? tenant)).size, 3)
  t.match((await entries('id:g-1')).map(({ action }) => action), ['create', 'delete', 'purge'])
  t.match((await run(cwd, 'audit')).stdout, / id:g-1 +purge /)
  t.match(await run(cwd, 'audit', 'nobody'), { code: 1, stdout: '', stderr: /no tenant nobody.*id:…/ })
})

t.test('--since leaves older entries out, whatever their number', async t => {
  await admin.query(`insert into tenancy.audit (at, tenant_id, action)
    select now() - interval '10 days', 'a-1', 'old' from generate_series(1, 1100)`)
  t.equal((await entries('acme')).length, 1103)
  t.equal((await entries('acme', '--since', '7d')).length, 3)
  t.match(await run(cwd, 'audit', '--since', '7'), { code: 2, stderr: /since/ })
})

t.test('values that would act on a terminal are escaped', async t => {
  await admin.query('insert into tenancy.audit (tenant_id, action, actor, details) values ($1, $2, $3, $4)', [
    'a-1',
    'x\u001b[2Jy',
    'eve\nadmin',
    JSON.stringify({ note: '\u001b]0;title\u0007\u202e' })
  ])
  const { stdout } = await run(cwd, 'audit', 'acme', '--since', '1h')
  for (const character of ['\u001b', '\u0007', '\u202e']) t.notOk(stdout.includes(character))
  t.equal(stdout.trimEnd().split('\n').length, 5, 'one line an entry')
})
