// What a move leaves that was rolled back or completed only in part, and how the next call handles
// it.
import t from 'tap'

import { connect } from '../support/sql.ts'
import { items, touched } from './small-tenant-fixture.ts'

t.jobs = 2

t.test(
  'a move whose triggers cannot be dropped succeeds, and its confirmation drops them',
  { buffered: true },
  async t => {
    const { on, id, move } = await items(t, touched)
    const report = await connect(t, on.superUrl)
    let reading: Promise<unknown> = Promise.resolve()
    const moved = await move({ isolation: 'schema' }, step => {
      if (step === 'wait') reading = report.query('begin; select count(*) from items')
      return undefined
    }, { lifecycle: { wait: '300ms' } })
    await reading
    t.match(moved, { isolation: 'schema', note: /trigger/ })
    t.equal((await on.admin("select from pg_trigger where tgname like 'tenancy_move_%'")).length, 4)
    await report.query('commit')
    t.match((await on.manager.doctor()).findings.filter(({ id }) => id === 'D516').length, 4)
    await on.manager.confirmMove({ id })
    t.same(await on.admin("select from pg_trigger where tgname like 'tenancy_move_%'"), [])
  }
)
