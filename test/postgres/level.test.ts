import { reportLevel, type LevelFacts } from '@fastify-tenancy/postgres/doctor'
import { init } from '@fastify-tenancy/postgres/install'
import { protect } from '@fastify-tenancy/postgres/policies'
import { rolesOf } from '@fastify-tenancy/postgres/roles'
import t from 'tap'

import { freshDatabase } from '../support/fresh.ts'
import { connect, connectEmbedded, databaseOf, loginOf, loginUrl } from '../support/sql.ts'

const nothing: LevelFacts = {
  hasRegistryLogin: false,
  hasSystemLogin: false,
  hasOwnerLogin: false,
  isSigned: false
}
const logins: LevelFacts = { ...nothing, hasRegistryLogin: true, hasSystemLogin: true, hasOwnerLogin: true }

t.test('one privileged login is level 0, whatever else the configuration has', async t => {
  const url = await freshDatabase(t)
  for (const client of [await connect(t, url), await connectEmbedded(t)]) {
    t.same(await reportLevel(client, { ...logins, isSigned: true }), {
      level: 0,
      reasons: ["the login 'postgres' is a superuser"]
    })
  }
})

t.test('each step of the configuration is a level, and the report names the next step', async t => {
  const url = await freshDatabase(t)
  const admin = await connect(t, url)
  const app = loginUrl(url, 'app')
  await init(admin, { logins: { app: loginOf(app) } })
  const client = await connect(t, app)
  const report = (facts: Partial<LevelFacts>): ReturnType<typeof reportLevel> =>
    reportLevel(client, { ...nothing, ...facts })
  t.match(await report({}), { level: 1, reasons: [/registryUrl/, /systemUrl/, /ownerUrl/] })
  t.match(await report({ ...logins, hasOwnerLogin: false, isSigned: true }), {
    level: 1,
    reasons: [/ownerUrl/]
  })
  t.match(await report(logins), { level: 2, reasons: [/rls\.secret/] })
  t.match(await report({ ...logins, isSigned: true }), { level: 3, reasons: [/one login/] })
  t.same(await report({ ...logins, isSigned: true, hasTenantLogins: true }), { level: 4, reasons: [] })
})

t.test('INJ-20 any other role that the login may become means level 0', async t => {
  const url = await freshDatabase(t)
  const admin = await connect(t, url)
  const app = loginUrl(url, 'app')
  const { user } = loginOf(app)
  await init(admin, { logins: { app: loginOf(app) } })
  await admin.query('create table projects (tenant_id text not null)')
  await protect(admin, {
    tables: { tenant: { projects: 'tenant_id' }, shared: [], global: [], schema: 'public' },
    signed: true
  })
  const client = await connect(t, app)
  const roles = rolesOf(databaseOf(url))
  const suffix = user.slice(-9)
  await admin.query(
    `create role "tenant_a${suffix}" nologin; grant "${roles.app}" to "tenant_a${suffix}"; grant
      "tenant_a${suffix}" to "${user}"; create role "tenant_z${suffix}" nologin`
  )
  const separate = { ...logins, isSigned: true }
  t.match(await reportLevel(client, separate), {
    level: 2,
    reasons: [/may become the roles of tenants.*tenantRolesUrl/]
  }, "CON-09 a tenant's role is for another login")
  t.match(await reportLevel(client, { ...separate, logins: { tenantRoles: 'postgres' } }), {
    level: 1,
    reasons: [/superuser/]
  })
  await admin.query(`revoke "tenant_a${suffix}" from "${user}"`)
  t.equal((await reportLevel(client, separate)).level, 2, 'it is still there, so another login must take it')
  await admin.query(`drop role "tenant_a${suffix}"`)
  t.equal((await reportLevel(client, separate)).level, 3)

  const holes: [string, string, RegExp][] = [
    [`alter role "${user}" bypassrls`, `alter role "${user}" nobypassrls`, /BYPASSRLS/],
    [`alter role "${user}" createrole`, `alter role "${user}" nocreaterole`, /CREATEROLE/],
    [`alter role "${user}" replication`, `alter role "${user}" noreplication`, /REPLICATION/],
    [`grant "${roles.system}" to "${user}"`, `revoke "${roles.system}" from "${user}"`,
      new RegExp(`may become '${roles.system}'`)],
    [`grant "${roles.owner}" to "${user}"`, `revoke "${roles.owner}" from "${user}"`,
      new RegExp(`may become '${roles.owner}'`)],
    [`grant pg_read_all_data to "${user}"`, `revoke pg_read_all_data from "${user}"`,
      /may become 'pg_read_all_data'/],
    [`grant "tenant_z${suffix}" to "${user}"`, `revoke "tenant_z${suffix}" from "${user}"`,
      /may become 'tenant_z/],
    [`create table mine (x int); alter table mine owner to "${user}"`, 'drop table mine', /owns tables/]
  ]
  for (const [hole, mend, reason] of holes) {
    await admin.query(hole)
    const report = await reportLevel(client, { ...logins, isSigned: true })
    t.equal(report.level, 0, hole)
    t.match(report.reasons.join('; '), reason)
    await admin.query(mend)
    t.equal((await reportLevel(client, { ...logins, isSigned: true })).level, 3, mend)
  }
})
