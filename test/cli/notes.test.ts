// Notes of list, show and set beside a tenant's record: unconfirmed moves, due deletions, plans
// without limits.
import t from 'tap'

import { freshDatabase } from '../support/fresh.ts'
import { folder, run } from './command.ts'

const url = await freshDatabase(t)
const limits = JSON.stringify({ plans: { free: { rpm: 60 } } })
const config = (rateLimit: unknown): string =>
  JSON.stringify({ database: { url }, tables: { tenant: [] }, rateLimit })
const cwd = folder(t, { 'tenancy.config.json': config('./limits.json'), 'limits.json': limits })
await run(cwd, 'init')
for (const slug of ['plain', 'moved', 'ended']) await run(cwd, 'create', slug)

t.test('without notes, list has no column for them', async t => {
  const { stdout } = await run(cwd, 'list')
  t.match(stdout, /^slug +status +plan +isolation +shard +id\n/)
  t.notMatch(stdout, /note/)
})

t.test('list and show report an unconfirmed move, a due deletion and a plan without limits', async t => {
  await run(cwd, 'move', 'moved', '--to', 'schema')
  await run(cwd, 'delete', 'ended', '--yes')
  t.match(await run(cwd, 'set', 'plain', '--plan', 'platinum'), {
    code: 0,
    stderr: /warning: plan 'platinum' is not in the limits file: the default limits apply/
  })
  t.match(
    await run(cwd, 'set', 'plain', '--name', 'Plain'),
    { code: 0, stderr: '' },
    'control: no plan was set'
  )
  t.match(await run(cwd, 'create', 'rich', '--plan', 'gold'), { code: 0, stderr: /warning: plan 'gold'/ })
  const { stdout } = await run(cwd, 'list')
  t.match(stdout, /^plain .*plan 'platinum' is not in the limits file/m)
  t.match(stdout, /^moved .*moved from rls, not confirmed: tenancy move moved --confirm/m)
  t.match(stdout, /^ended .*purge due \d{4}-/m)
  t.match((await run(cwd, 'show', 'moved')).stdout, /^moved from rls, not confirmed/m)
  t.match((await run(cwd, 'show', 'ended')).stdout, /^purge due \d{4}-/m)
  const listed = JSON.parse((await run(cwd, 'list', '--json')).stdout) as { slug: string }[]
  t.match(listed.find(({ slug }) => slug === 'moved'), {
    move: { from: { isolation: 'rls', shard: 'default' }, to: { isolation: 'schema' }, isSwitched: true }
  })
  t.match(listed.find(({ slug }) => slug === 'ended'), { deletion: { due: /^\d{4}-/, keepsData: false } })
  t.match(listed.find(({ slug }) => slug === 'plain'), { hasUnknownPlan: true })
  await run(cwd, 'move', 'moved', '--confirm', '--yes')
  await run(cwd, 'resume', 'ended')
  t.notMatch((await run(cwd, 'list')).stdout, /confirm|purge/)
})

t.test('a limits file that cannot be read checks no plan, and says so', async t => {
  const broken = folder(t, { 'tenancy.config.json': config({ file: './limits.json' }), 'limits.json': '{' })
  t.match(await run(broken, 'list'), {
    code: 0,
    stderr: /plans were not checked, because the limits file cannot be read/
  })
  const inline = folder(t, { 'tenancy.config.json': config(false) })
  t.match(await run(inline, 'list'), { code: 0, stderr: '' })
})
