// Which changes are copied while the tenant is served, and how long other tenants wait for that.
import t from 'tap'

import { connect } from '../support/sql.ts'
import { until } from '../support/until.ts'
import { items, plain, touched } from './small-tenant-fixture.ts'

t.jobs = 2

t.test(
  'a move without change capture is refused before the lockout if a copy exceeds the pause',
  { buffered: true },
  async t => {
    const { on, id, move } = await items(t)
    await on.admin('insert into items select $1, g from generate_series(1, 3000) g', [id])
    const steps: string[] = []
    const refill = `truncate items; insert into items select '${id}', g from generate_series(1, 3000) g`
    await t.rejects(
      move({ isolation: 'schema', pause: '1ms' }, step => {
        steps.push(step)
        return step === 'snapshot' || step === 'changes' ? refill : undefined
      }),
      { code: 'FST_TENANCY_MOVE_FAILED', message: /locked out for more than 0.001 s/ }
    )
    t.notOk(steps.includes('lockout'), 'it was served all the while')
    t.equal(steps.filter(step => step === 'changes').length, 2, 'tried twice')
    t.same(await on.admin('select from tenancy.lockouts union all select from tenancy.moves'), [])
  }
)

t.test('others write into the shared tables that a tenant moves into while its rows are counted', {
  buffered: true
}, async t => {
  const { on, id, move } = await items(
    t,
    isShared => `${touched(isShared)}; ${plain(isShared).replace('items', 'other')}`,
    ['items', 'other']
  )
  await on.admin('insert into items select $1, g from generate_series(1, 3) g', [id])
  await move({ isolation: 'schema' })
  await on.manager.confirmMove({ id })
  const slow = await connect(t, on.superUrl)
  let holding: Promise<unknown> = Promise.resolve()
  const moving = move({ isolation: 'rls' }, step => {
    if (step === 'wait') holding = slow.query('begin; lock table other in access exclusive mode')
    return step === 'catch-up' ? `update "tenant_${id}".items set body = 'late' where id = 1` : undefined
  })
  await until(async () =>
    (await on.admin("select from pg_locks where not granted and relation = 'other'::regclass")).length > 0
  )
  await holding
  await on.admin("set lock_timeout = '2s'; insert into items values ('neighbour', 1)")
  t.same(
    await on.admin("select body, tenant_id = 'neighbour' as other from items order by id, body"),
    [{ body: 'late', other: false }, { body: null, other: true }, { body: null, other: false }, {
      body: null,
      other: false
    }],
    'control: the change is there, and so the triggers were off before'
  )
  await slow.query('commit')
  await moving
  t.same(
    await on.admin("select tgenabled from pg_trigger where tgname = 'touch' and tgrelid = 'items'::regclass"),
    [{ tgenabled: 'O' }]
  )
})

t.test(
  'a large backlog of changes is copied into tenant tables without blocking other tenants',
  { buffered: true },
  async t => {
    const { on, id, run, move } = await items(t, touched)
    await on.admin('insert into items select $1, g from generate_series(1, 3) g', [id])
    await move({ isolation: 'schema' })
    await on.manager.confirmMove({ id })
    const steps: string[] = []
    await move({ isolation: 'rls' }, step => {
      steps.push(step)
      if (step === 'snapshot')
        run(`insert into "tenant_${id}".items select g from generate_series(11, 30010) g`)
      return undefined
    })
    t.same(steps.filter(step => ['snapshot', 'changes', 'catch-up'].includes(step)), ['snapshot', 'changes',
      'changes', 'catch-up', 'changes'])
    t.same(await on.admin('select count(*)::int as count from items where tenant_id = $1', [id]), [{
      count: 30003
    }])
  }
)
