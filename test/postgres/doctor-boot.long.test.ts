import { openDatabase, type LevelReport } from '@fastify-tenancy/database'
import { resolveDatabaseOptions } from '@fastify-tenancy/database/options'
import t from 'tap'

import { provision, testSecret, type Provisioned } from '../support/tenants.ts'

type Doctor = 'refuse' | 'warn' | false

/** Boots with an option, in an environment. */
async function boot (
  on: Provisioned,
  doctor: Doctor | undefined,
  environment = 'test',
  url = on.url
): Promise<LevelReport> {
  const before = process.env.NODE_ENV
  const database = openDatabase(
    resolveDatabaseOptions({
      database: { url, ...(doctor !== undefined && { doctor }) },
      tables: on.tables,
      rls: { secret: testSecret }
    })
  )
  process.env.NODE_ENV = environment
  try {
    return await database.boot()
  } finally {
    if (before === undefined) delete process.env.NODE_ENV
    else process.env.NODE_ENV = before
    await database.close()
  }
}

t.test('a boot on a clean database finds nothing', async t => {
  const on = await provision(t)
  for (const doctor of ['refuse', 'warn', undefined] as const) {
    const { findings = [], warnings } = await boot(on, doctor, 'production')
    t.same(findings.filter(({ level }) => level !== 'info'), [])
    t.same(warnings, [])
  }
})

t.test('RLS-03 a hole warns at boot, or refuses it, or is not looked for, as the options say', async t => {
  const on = await provision(t)
  const app = (await on.admin<{ rolname: string }>(
    "select rolname from pg_roles where rolname = 'tenancy_app_' || substr(md5(current_database()), 1, 8)"
  ))[0]?.rolname
  for (
    const [plant, mend, sign] of [
      [`create table fresh (x int); grant select on fresh to "${app}"`, 'drop table fresh',
        /^D405 table public\.fresh: .*; `tenancy doctor` prints the fix$/],
      [`grant truncate on notes to "${app}"`, `revoke truncate on notes from "${app}"`,
        /^D402 table public\.notes: /],
      [`alter policy tenancy_tenant on notes to "${app}", "${new URL(on.url).username}"`,
        `alter policy tenancy_tenant on notes to "${app}"`, /^D109 policy tenancy_tenant on public\.notes: /]
    ] as const
  ) {
    await on.admin(plant)
    for (
      const [doctor, environment] of [[undefined, 'production'], ['warn', 'production'], ['refuse',
        'development']] as const
    ) t.match((await boot(on, doctor, environment)).warnings, [sign], `${doctor} under ${environment}`)
    await t.rejects(boot(on, 'refuse', 'production'), {
      code: 'FST_TENANCY_SETUP_INVALID',
      message: new RegExp(sign.source.slice(1).split(':')[0] ?? '')
    })
    t.same(await boot(on, false, 'production').then(({ findings, warnings }) => [findings, warnings]), [[],
      []])
    await on.admin(mend)
    t.same((await boot(on, 'refuse', 'production')).warnings, [])
  }
})

t.test("the level's own reasons are no warnings, and still refuse the boot", async t => {
  const on = await provision(t)
  t.same((await boot(on, 'warn', 'production', on.superUrl)).warnings, [])
  await t.rejects(boot(on, 'refuse', 'production', on.superUrl), {
    code: 'FST_TENANCY_SETUP_INVALID',
    message: /D301 role postgres: the login 'postgres' is a superuser/
  })
})

t.test('a remark of level info neither warns nor refuses', async t => {
  const on = await provision(t)
  t.ok((await boot(on, 'refuse', 'production')).findings?.some(({ level }) => level === 'info'))
})

t.test('a wrong value of the option is named', async t => {
  t.throws(() => resolveDatabaseOptions({ database: { url: 'postgres://h/d', doctor: true } }), {
    code: 'FST_TENANCY_OPTION_INVALID',
    message: /^options\.database\.doctor must be one of 'refuse', 'warn', false, got true/
  })
})
