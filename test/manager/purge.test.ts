// What remains after a purge, by strategy: nothing of the tenant, and everything of the others.
import { createTenancy } from 'fastify-tenancy'
import { installationKey, tenantKey } from '@fastify-tenancy/core/keys'
import type { DatabaseConnectionOptions } from '@fastify-tenancy/database'
import t from 'tap'

import { freshRedis } from '../support/fresh.ts'
import { idFor, lifecycleFixture, tables, type LifecycleStrategy,
  type LifecycleFixture } from './lifecycle-fixture.ts'

const conflict = (message: RegExp): { code: string; message: RegExp } => ({
  code: 'FST_TENANCY_TENANT_CONFLICT',
  message
})

/** Every row, role, schema and database that contains this tenant's id. */
async function traces ({ admin }: LifecycleFixture, id: string): Promise<string[]> {
  const found = await admin<{ what: string }>(
    `
    select 'projects' as what from projects where tenant_id = $1 union all select 'tasks' from tasks
      where tenant_id = $1
    union all select 'comments' from comments where project_tenant = $1 union all select 'members'
      from members where tenant_id = $1
    union all select 'domain ' || domain from tenancy.domains where tenant_id = $1
    union all select 'deletion' from tenancy.deletions where tenant_id = $1
    union all select 'operation ' || kind from tenancy.operations where tenant_id = $1 and finished_at is null
    union all select 'role ' || rolname from pg_roles where position($1 in rolname) > 0
    union all select 'schema ' || nspname from pg_namespace where position($1 in nspname) > 0
    union all select 'database ' || datname from pg_database where position($1 in datname) > 0
    order by 1`,
    [id]
  )
  return found.map(({ what }) => what)
}

const rows = ['comments', 'comments', 'members', 'members', 'projects', 'projects', 'tasks', 'tasks']
const made: Readonly<Record<LifecycleStrategy, readonly string[]>> = {
  rls: rows,
  row: rows,
  role: [...rows, 'role'],
  schema: ['role', 'schema'],
  database: ['database', 'role']
}

for (const strategy of ['rls', 'row', 'role', 'schema', 'database'] as const) {
  t.test(`LIF-08 ${strategy}: a purge removes all of the tenant and nothing of the others`, async t => {
    const world = await lifecycleFixture(t, strategy)
    const { manager } = world
    const [a, b] = [idFor(world, 'a'), idFor(world, 'b')]
    for (const [id, slug] of [[a, 'acme'], [b, 'globex']] as const)
      await world.fill(await manager.create({ id, slug, domains: [`${slug}.test`] }))
    const before = await traces(world, b)
    const kinds = async (): Promise<string[]> =>
      (await traces(world, a)).map(what => what.split(' ')[0] ?? '')
    t.same(
      await kinds(),
      [...made[strategy], 'domain'].toSorted(),
      'control: the traces are seen while they are there'
    )
    await manager.delete({ id: a }, { grace: '0s' })
    t.same(
      await kinds(),
      [...made[strategy], 'deletion', 'domain'].toSorted(),
      'nothing goes before the purge'
    )
    const report = await manager.purge({ id: a })
    t.same(
      report.rows,
      strategy === 'schema' || strategy === 'database'
        ? { projects: 2, tasks: 2 }
        : { comments: 2, members: 2, projects: 2, tasks: 2 }
    )
    t.same(await traces(world, a), [])
    t.same(await traces(world, b), before)
    t.match(
      await world.admin(
        'select action, details from tenancy.audit where tenant_id = $1 order by id desc limit 1',
        [a]
      ),
      [{ action: 'purge', details: { slug: 'acme', rows: { projects: 2 } } }]
    )
    await t.rejects(
      manager.create({ slug: 'acme' }),
      conflict(/given up within the last 30 days/),
      'the slug is quarantined'
    )
    await t.rejects(manager.create({ slug: 'other', id: a }), conflict(/taken/), 'an id is never given again')
  })
}

for (const strategy of ['role', 'schema', 'database'] as const) {
  t.test(`${strategy}: a tenant can be deleted without its data, and the report says so`, async t => {
    const world = await lifecycleFixture(t, strategy)
    const { manager } = world
    const id = idFor(world, 'a')
    await world.fill(await manager.create({ id, slug: 'acme' }))
    t.match(await manager.delete({ id }, { keepData: true, grace: '0s' }), { keepsData: true })
    t.match(await manager.purgeDue(), {
      purged: [{ keptData: true, rows: {}, tenant: { status: 'deleted' } }],
      failed: { length: 0 }
    })
    const left = strategy === 'role'
      ? rows
      : strategy === 'schema'
      ? [`schema tenant_${id}`]
      : [`database tenant_${id}`]
    t.same(await traces(world, id), left, 'the role or the login is gone')
    t.match(
      await world.admin('select details from tenancy.audit where tenant_id = $1 order by id desc limit 1', [
        id
      ]),
      [{ details: { keptData: true } }]
    )
  })
}

t.test('LIF-08 rows in unlisted tables stop the purge by name until they are gone', async t => {
  const world = await lifecycleFixture(t)
  const { manager, admin } = world
  const { id } = await manager.create({ slug: 'acme' })
  await admin(
    `create table forgotten (tenant_id text not null); insert into forgotten values ('${id}'), ('other');
      grant select on forgotten to "${new URL(world.ownerUrl).username}"`
  )
  await admin('create schema legacy; create table legacy.invoices (tenant_id uuid, n int)')
  await admin(
    `insert into legacy.invoices values ('${id}', 1), ('${id}', 2); ` +
      'grant usage on schema legacy to public; grant select on legacy.invoices to public'
  )
  t.match((await manager.delete({ id }, { dryRun: true })).rows, { forgotten: 1, 'legacy.invoices': 2 })
  await manager.delete({ id })
  await t.rejects(
    manager.purge({ id }),
    conflict(
      new RegExp(
        String.raw`rows of the tenant still exist: 2 in legacy\.invoices, 1 in forgotten; list these ` +
          String.raw`tables in options\.tables`
      )
    )
  )
  t.equal((await manager.get({ id }))?.status, 'deleting')
  await t.rejects(
    manager.resume({ id }),
    conflict(/a purge of this tenant is not finished/),
    'what was begun is not taken back'
  )
  await admin(`delete from forgotten where tenant_id = '${id}'; delete from legacy.invoices`)
  t.match(await manager.purge({ id }), {
    tenant: { status: 'deleted' },
    rows: { forgotten: 1, 'legacy.invoices': 2 }
  }, 'with the counts of the first call')
  t.same(await admin('select tenant_id from forgotten'), [{ tenant_id: 'other' }])
})

t.test('a table named after it stopped a purge is emptied by the same call', async t => {
  const world = await lifecycleFixture(t)
  const { admin } = world
  const { id } = await world.manager.create({ slug: 'acme' })
  await admin(
    `create table forgotten (tenant_id text not null, primary key (tenant_id));
      alter table forgotten owner to "${
      new URL(world.ownerUrl).username
    }"; insert into forgotten values ('${id}'), ('other')`
  )
  await world.manager.delete({ id })
  await t.rejects(
    world.manager.purge({ id }),
    conflict(/1 in forgotten; list these tables in options\.tables/)
  )
  const manager = world.another({ tables: { ...tables, tenant: [...tables.tenant, 'forgotten'] } })
  t.match(await manager.purge({ id }), { tenant: { status: 'deleted' } })
  t.same(await admin('select tenant_id from forgotten'), [{ tenant_id: 'other' }])
})

t.test("foreign rows that reference the tenant's stop the purge until a user step removes them", async t => {
  const world = await lifecycleFixture(t)
  const { manager, admin } = world
  const acme = await manager.create({ slug: 'acme' })
  await world.fill(acme)
  await admin(
    'create table pins (who int, owner text, project int, foreign key (owner, project) ' +
      `references projects (tenant_id, id)); insert into pins values (1, '${acme.id}', 1)`
  )
  await manager.delete({ id: acme.id }, { grace: '0s' })
  t.match((await manager.purgeDue()).failed, [{
    id: acme.id,
    error: conflict(/still refer to the tenant's.*"pins".*in a step of options\.lifecycle\.steps/)
  }])
  const purged: string[] = []
  const steps = [{
    name: 'pins',
    purge: async ({ tenant }: { tenant: { id: string } }) => {
      purged.push(tenant.id)
      await admin('delete from pins where owner = $1', [tenant.id])
    }
  }]
  // The step did not exist when the purge began. It runs all the same.
  t.match((await world.another({ lifecycle: { steps } }).purgeDue()).purged, [{ tenant: { id: acme.id } }])
  t.same(purged, [acme.id])
})

t.test('LIF-08 circular tables, partitions and more rows than one statement takes are purged', async t => {
  const world = await lifecycleFixture(t)
  const { manager, admin } = world
  const [a, b] = [await manager.create({ slug: 'acme' }), await manager.create({ slug: 'globex' })]
  await admin(`
    create table authors (tenant_id text not null, id int, best int, primary key (tenant_id, id));
    create table books (tenant_id text not null, id int, author int not null, primary key (tenant_id, id),
      foreign key (tenant_id, author) references authors);
    alter table authors add foreign key (tenant_id, best) references books deferrable;
    create table logs (tenant_id text not null, at int not null) partition by range (at);
    create table logs_1 partition of logs for values from (0) to (15000);
    create table logs_2 partition of logs for values from (15000) to (30000);
    create index on logs (tenant_id)`)
  for (const { id } of [a, b]) {
    await admin(`
      insert into authors values ('${id}', 1, null), ('${id}', 2, null);
      insert into books values ('${id}', 1, 1), ('${id}', 2, 2);
      update authors set best = id where tenant_id = '${id}'; insert into logs select '${id}', n
        from generate_series(0, 29999) n`)
  }
  const more = { tables: { ...tables, tenant: [...tables.tenant, 'authors', 'books', 'logs'] } }
  await world.asSuperuser(more).protect()
  const removed: number[] = []
  const other = world.another({
    ...more,
    progress: ({ step, done }) => {
      if (step === 'rows of logs') removed.push(done ?? 0)
    }
  })
  await other.delete({ id: a.id })
  t.match((await other.purge({ id: a.id })).rows, { authors: 2, books: 2, logs: 30_000 })
  t.ok(
    removed.length > 2 && removed.every(count => count <= 20_000),
    'at most a batch of each partition at once'
  )
  t.equal(removed.reduce((sum, count) => sum + count, 0), 30_000)
  t.same(
    await admin(
      'select (select count(*)::int from authors) as authors, (select count(*)::int ' +
        'from books) as books, (select count(*)::int from logs) as logs'
    ),
    [{ authors: 2, books: 2, logs: 30_000 }]
  )
})

t.test('LIF-05 a purge waits for transactions older than the deletion', async t => {
  const world = await lifecycleFixture(t)
  const { manager, admin } = world
  const acme = await manager.create({ slug: 'acme' })
  const database = await world.open()
  const db = world.handle(database, acme)
  const { promise: mayEnd, resolve: end } = Promise.withResolvers<void>()
  const { promise: begun, resolve: onBegun } = Promise.withResolvers<void>()
  const long = db.transaction().execute(async trx => {
    await trx.insertInto('projects').values({ id: 1, parent: null }).execute()
    onBegun()
    await mayEnd
  })
  await begun
  await manager.delete({ id: acme.id })
  await t.rejects(db.insertInto('projects').values({ id: 2, parent: null }).execute(), {
    code: 'FST_TENANCY_TENANT_UNKNOWN',
    statusCode: 404
  }, 'a new statement of the old process')
  await t.rejects(
    world.another({ lifecycle: { wait: '100ms' } }).purge({ id: acme.id }),
    conflict(/a transaction of the tenant's database began before it was locked and still run/)
  )
  t.same(await admin('select count(*)::int from projects'), [{ count: 0 }])
  const purge = manager.purge({ id: acme.id })
  end()
  await long
  t.match(await purge, { rows: { projects: 1 } }, 'what was committed meanwhile was removed with the rest')
  t.same(await admin('select count(*)::int from projects'), [{ count: 0 }])
  await t.rejects(db.insertInto('projects').values({ id: 3, parent: null }).execute(), {
    code: 'FST_TENANCY_TENANT_UNKNOWN'
  })
})

t.test('LIF-06 a new tenant gets nothing of a deleted tenant with the same slug', async t => {
  const world = await lifecycleFixture(t)
  const { admin } = world
  const redis = freshRedis(t)
  const manager = world.another({ redis })
  const acme = await manager.create({ slug: 'acme' })
  await world.fill(acme)
  const tenancy = await createTenancy({
    baseDomain: 'example.com',
    database: world.options.database as DatabaseConnectionOptions,
    tables,
    redis
  })
  t.teardown(() => tenancy.close())
  await tenancy.run({ slug: 'acme' }, ({ cache }) => cache.set('greeting', 'old'))
  const [row] = await admin<{ id: string }>('select id from tenancy.installation()')
  const keyOf = (...key: Parameters<typeof tenantKey>): string =>
    installationKey(row?.id ?? '', tenantKey(...key))
  await redis.set(keyOf(acme.id, 'limit', 'minute'), 'x')
  t.ok(await redis.get(keyOf(acme.id, 'cache-epoch')))
  const old = world.handle(await world.open(), acme)
  await manager.delete({ slug: 'acme' })
  await manager.purge({ id: acme.id })
  t.same(
    await redis.mget(
      keyOf(acme.id, 'cache-epoch'),
      keyOf(acme.id, 'limit', 'minute'),
      keyOf(acme.id, 'cache', 'kgreeting')
    ),
    [null, null, null]
  )
  await admin("update tenancy.names set free_at = now() where name = 'acme'")
  const next = await manager.create({ slug: 'acme' })
  t.not(next.id, acme.id)
  await tenancy.invalidate({ slug: 'acme' })
  await tenancy.run({ slug: 'acme' }, async ({ tenant, db, cache }) => {
    t.equal(tenant.id, next.id)
    t.equal(await cache.get('greeting'), undefined)
    t.same(await db.selectFrom('projects' as never).selectAll().execute(), [])
  })
  await t.rejects(
    old.selectFrom('projects').selectAll().execute(),
    { code: 'FST_TENANCY_TENANT_UNKNOWN' },
    'the old handle serves no tenant'
  )
})
