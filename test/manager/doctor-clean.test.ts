import t from 'tap'

import { doctorWorld, names, secret } from './doctor-fixture.ts'

const ownTables = 'create table notes (id serial primary key, body text)'
const worlds = {
  'a signed context': { rls: { secret } },
  'a plain context': { rls: {} },
  'a role per tenant': { rls: { context: 'role', secret } },
  'rewritten queries': { isolation: 'row' },
  'a schema per tenant': {
    isolation: 'schema',
    provision: async ({ client }: { client: { query(text: string): Promise<unknown> } }) => {
      await client.query(ownTables)
    }
  }
} as const

for (const [name, options] of Object.entries(worlds)) {
  t.test(`CLI-06 doctor and probe find nothing after init and protect: ${name}`, async t => {
    const on = await doctorWorld(t, options)
    for (const id of ['0190f2a4-0000-7000-8000-000000000001', '0190f2a4-0000-7000-8000-000000000002']) {
      const { slug } = await on.manager.create({ slug: `tenant-${id.slice(-1)}`, id })
      t.ok(slug)
    }
    await on.admin(
      'set row_security = off; insert into notes (tenant_id, title) ' +
        "select ('0190f2a4-0000-7000-8000-00000000000' || n)::uuid, 't' from generate_series(1, 2) n"
    )
    const report = await on.manager.doctor({ probe: true })
    t.same(names(report, ['error', 'warning']), [])
    t.same(
      names(report, ['info']).filter(text => !/^(?:D41[5-9]|D42[2-4]|P09|P10|P11) /.test(text)),
      [],
      'and no remark but what --harden or a signature would change'
    )
    t.equal(
      report.findings.some(({ id }) => id === 'P10'),
      name === 'a plain context',
      'the probe does what the documentation says of a context without a signature'
    )
    t.equal(report.findings.some(({ id }) => id === 'P11'), name === 'a schema per tenant')
  })
}
