// What a move that was taken back or finished only in part leaves behind, and what the next call makes of it.
import t from 'tap'

import { connect } from '../support/sql.ts'
import { items, once, touched } from './items.ts'

t.jobs = 2

t.test('a tenant whose lock could not be lifted when its move was taken back is served while the next call copies', { buffered: true }, async t => {
  for (const status of ['active', 'suspended'] as const) {
    const { on, id, move } = await items(t)
    await on.admin('insert into items select $1, g from generate_series(1, 3) g', [id])
    if (status === 'suspended') await on.manager.suspend({ id })
    const fail = `
      do $$ declare n text; begin for n in select tgname from pg_trigger where tgname like 'tenancy_move_%' loop execute format('drop trigger %I on items', n); end loop; end $$;
      create function no () returns trigger language plpgsql as $f$ begin raise 'the shard is away'; end $f$;
      create trigger no before delete or update on tenancy.fences for each row execute function no()`
    await t.rejects(move({ isolation: 'schema' }, once('wait', fail)), { code: 'FST_TENANCY_MOVE_FAILED', message: /triggers .* are not all there/ })
    t.same(await on.admin('select reason from tenancy.fences'), [{ reason: 'moving' }], 'control: it is locked out')
    await on.admin('drop trigger no on tenancy.fences')
    const asked: string[] = []
    await move({ isolation: 'schema' }, step => {
      if (!['capture', 'snapshot', 'follow'].includes(step)) return undefined
      asked.push(step)
      return `do $$ begin if exists (select from tenancy.fences where reason = 'moving') then raise 'locked out at ${step}'; end if; end $$`
    })
    t.same(asked, ['capture', 'snapshot', 'follow'])
    t.match(await on.manager.get({ id }), { isolation: 'schema', status })
    t.same(await on.admin('select home, reason from tenancy.fences order by 1'), [...status === 'suspended' ? [{ home: 'schema', reason: 'suspended' }] : [], { home: 'shared', reason: 'moved' }])
  }
})

t.test('a move whose triggers cannot be taken away has moved the tenant all the same, and says so; its confirmation takes them away', { buffered: true }, async t => {
  const { on, id, move } = await items(t, touched)
  const report = await connect(t, on.superUrl)
  let reading: Promise<unknown> = Promise.resolve()
  const moved = await move({ isolation: 'schema' }, step => {
    if (step === 'wait') reading = report.query('begin; select count(*) from items')
    return undefined
  }, { lifecycle: { wait: '300ms' } })
  await reading
  t.match(moved, { isolation: 'schema', note: /trigger/ })
  t.equal((await on.admin('select from pg_trigger where tgname like \'tenancy_move_%\'')).length, 4)
  await report.query('commit')
  t.match((await on.manager.doctor()).findings.filter(({ id }) => id === 'D516').length, 4)
  await on.manager.confirmMove({ id })
  t.same(await on.admin('select from pg_trigger where tgname like \'tenancy_move_%\''), [])
})
