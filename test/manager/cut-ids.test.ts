// A tenant column with a length limit: casting a longer id to its type cuts the id, so that it
// equals another tenant's id.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'

import { folder } from './manager-fixture.ts'
import { lifecycleFixture, tables } from './lifecycle-fixture.ts'

t.test('an id longer than the tenant column reaches no rows of the tenant that it is cut to', async t => {
  const world = await lifecycleFixture(t, 'row')
  const { admin } = world
  await admin(`
    create table notes (tenant_id varchar(4) not null, id int not null, primary key (tenant_id, id));
    create domain short as varchar(4); create table marks (tenant_id short not null, id int not null,
      primary key (tenant_id, id))`)
  for (const table of ['notes', 'marks'])
    await admin(`alter table ${table} owner to "${new URL(world.ownerUrl).username}"`)
  const manager = world.another({ tables: { ...tables, tenant: [...tables.tenant, 'notes', 'marks'] } })
  await manager.create({ slug: 'one', id: 'acme' })
  await manager.create({ slug: 'two', id: 'acme-2' })
  await admin(`insert into notes values ('acme', 1); insert into marks values ('acme', 1)`)
  const to = join(folder(t), 'export')
  await manager.export({ id: 'acme-2' }, { to })
  for (const table of ['notes', 'marks'])
    t.equal(readFileSync(join(to, 'tables', `${table}.ndjson`), 'utf8'), '')
  await manager.delete({ id: 'acme-2' }, { grace: '0s' })
  t.same((await manager.purge({ id: 'acme-2' })).rows, {})
  t.same(
    await admin(
      'select (select count(*)::int from notes) as notes, (select count(*)::int from marks) as marks'
    ),
    [{ notes: 1, marks: 1 }]
  )
  await manager.delete({ id: 'acme' }, { grace: '0s' })
  t.match(
    (await manager.purge({ id: 'acme' })).rows,
    { notes: 1, marks: 1 },
    'control: they go with the tenant whose they are'
  )
})
