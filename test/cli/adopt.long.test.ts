// A team has a database without tenants and an application in use. It adopts the suite stage by
// stage, with the command alone.
import Fastify from 'fastify'
import tenancy, { type TenancyOptions } from 'fastify-tenancy'
import pg from 'pg'
import t, { type Test } from 'tap'

import { dumpCatalog } from '../postgres/catalog.ts'
import { backfill, none, old, prepared, shape, tables, work, wrong,
  type Old } from '../manager/legacy-fixture.ts'
import { migrate } from '../support/migrate.ts'
import { runScript } from '../support/script.ts'
import { loginOf, loginUrl } from '../support/sql.ts'
import { folder, runBinary, type Ended } from './command.ts'

interface Adopted extends Old {
  readonly options: TenancyOptions
  tenancy(...argv: string[]): Promise<Ended>
  /** What the command prints. It must succeed. */
  done(...argv: string[]): Promise<string>
}

/** An old database, and the folder of a team that adopts it. */
async function adopted (t: Test): Promise<Adopted> {
  const world = await old(t)
  const { user } = loginOf(world.legacy)
  const options = {
    baseDomain: 'example.com',
    database: { url: loginUrl(world.url, 'app'), ownerUrl: world.url },
    tables: { ...tables, shared: ['countries'], global: ['accounts'] }
  }
  const manager = { adoption: { backfill, lockTimeout: '200ms', legacy: { [user]: '2999-12-31' } } }
  const cwd = folder(t, { 'tenancy.config.json': JSON.stringify({ ...options, manager }) })
  const command = (...argv: string[]): Promise<Ended> => runBinary(cwd, ...argv)
  return {
    ...world,
    options,
    tenancy: command,
    async done (...argv) {
      const { code, stdout, stderr } = await command(...argv)
      t.equal(code, 0, `${argv.join(' ')}: ${stdout}${stderr}`)
      return stdout
    }
  }
}

async function dump ({ admin, legacy }: Old): Promise<string> {
  return (await dumpCatalog(admin)).replaceAll(loginOf(legacy).user, 'LEGACY').replaceAll(
    /login_(\w+)_[0-9a-f]{8}/g,
    'login_$1'
  )
}

interface Report {
  readonly findings: readonly { readonly id: string; readonly level: string; readonly object: string }[]
}

t.test('an unprotected database under old code becomes one of tenants in stages', async t => {
  const { admin, legacy, options, tenancy: command, done } = await adopted(t)
  const idsOf = ({ findings }: Report, table: string): string[] =>
    findings.filter(({ object }) => object.includes(table)).map(({ id }) => id)
  await done('init')
  const unprotected = await command('doctor', '--json')
  t.equal(unprotected.code, 1)
  t.ok(
    idsOf(JSON.parse(unprotected.stdout) as Report, 'users').includes('D101'),
    'control: the doctor sees that nothing keeps the rows apart'
  )
  const early = await command('protect', 'tasks', '--stage', 'observe', '--json')
  t.equal(early.code, 1)
  t.match(JSON.parse(early.stdout), {
    error: {
      code: 'FST_TENANCY_SETUP_INVALID',
      message: /'tasks' has no tenant column: run `tenancy protect tasks --stage prepare`/
    }
  })

  const code = await work(legacy)
  for (const table of ['projects', 'tasks']) await done('protect', table, '--stage', 'prepare')
  t.same(
    (await admin.query(shape)).rows,
    prepared.filter(({ table }) => table === 'projects' || table === 'tasks'),
    'what was named, and no more'
  )
  t.match(await command('protect', '--stage', 'prepare'), {
    code: 0,
    stdout: 'prepared\n',
    stderr: /events/
  }, 'the rest, and its progress')
  t.same((await admin.query(shape)).rows, prepared)
  t.match(await command('protect', '--stage', 'observe'), {
    code: 0,
    stdout: 'observed\n',
    stderr: /legacy code works as before.*Next: create tenants for the customers/
  }, 'it says what comes next')
  const customers = 'select id, lower(name) as slug, name from organizations'
  t.match(await done('create', '--from', customers), /^created 2 tenants; 0 customers/)
  t.match(await done('create', '--from', customers), /^created 0 tenants; 2 customers/)
  t.equal((await command('create', 'acme', '--from', customers)).code, 2)
  const observed = await done('doctor', '--json')
  t.ok(idsOf(JSON.parse(observed) as Report, 'tasks').includes('D114'), 'old code is still let past')

  const pool = new pg.Pool({ connectionString: legacy, max: 1 })
  t.teardown(() => pool.end())
  const lines: { readonly query?: unknown }[] = []
  const app = Fastify({
    logger: {
      level: 'warn',
      stream: {
        write (line: string) {
          lines.push(JSON.parse(line))
        }
      }
    }
  })
  t.teardown(() => app.close())
  await app.register(tenancy, {
    ...options,
    cache: false,
    database: { ...options.database as object, observe: [pool] } as never
  })
  app.get('/old', async () => (await pool.query('select count(*)::int as count from projects')).rows)
  app.get(
    '/new',
    async request => request.db.selectFrom('projects' as never).select('name' as never).execute()
  )
  const call = async (path: string, slug = 'acme'): Promise<unknown[]> =>
    (await app.inject({ url: path, headers: { host: `${slug}.example.com` } })).json()
  const [{ count } = { count: 0 }] = await call('/old') as { count: number }[]
  t.ok(count > 100, 'old code reads what it read')
  t.match(lines.filter(({ query }) => query !== undefined), [{
    query: { by: 'old', route: 'GET /old', text: /projects/ }
  }], 'and what will break is said')
  const [ofAcme, ofGlobex] = [(await call('/new')).length, (await call('/new', 'globex')).length]
  t.ok(ofAcme >= 50 && ofGlobex >= 50 && ofAcme < count && ofGlobex < count, "new code has its tenant's")
  const { errors, count: rounds } = await code.stop()
  t.same(errors, [], `${rounds} rounds of old code through it all`)
  t.same((await admin.query(wrong)).rows, [none])

  t.match(await command('protect', '--stage', 'enforce'), {
    code: 1,
    stderr: /is still worked on by 'login_legacy_\w+' until 2999-12-31: wait, or run the command with --yes/
  })
  await done('protect', '--stage', 'enforce', '--yes')
  await t.rejects(pool.query('select from projects'), { code: '42501' }, 'the old login is out')
  const { findings } = JSON.parse(await done('doctor', '--probe', '--json')) as Report
  t.same(findings.filter(({ level }) => level === 'error'), [])
  t.same(
    ['D101', 'D102', 'D103', 'D114', 'D126'].filter(id => findings.some(finding => finding.id === id)),
    [],
    'every table is under its policy'
  )
  const now = [(await call('/new')).length, (await call('/new', 'globex')).length] as const
  t.ok(now[0] >= ofAcme && now[1] >= ofGlobex)
  t.equal(
    (await admin.query('select count(*)::int as count from projects')).rows[0].count,
    now[0] + now[1],
    "nobody's row is lost"
  )
})

t.test('each stage prints SQL and a Kysely migration, which another tool can run instead', async t => {
  const [real, twin, third] = [await adopted(t), await adopted(t), await adopted(t)]
  const files: Record<string, string> = {}
  for (const stage of ['prepare', 'observe', 'enforce'] as const) {
    const argv = ['protect', '--stage', stage, ...(stage === 'enforce' ? ['--yes'] : [])]
    await real.done(...argv)
    const before = await dump(twin)
    const script = await twin.done(...argv, '--print')
    t.equal(await twin.done(...argv, '--format', 'sql'), script, '--format alone prints, too')
    t.match(JSON.parse(await twin.done(...argv, '--print', '--json')), {
      scripts: [{ shard: 'default', text: script.trimEnd() }]
    })
    t.equal(await dump(twin), before, 'printing changes nothing')
    await runScript(twin.url, script)
    t.equal(await dump(twin), await dump(real), `${stage} as SQL`)
    files[`${Object.keys(files).length}_${stage}.ts`] = await third.done(
      ...argv,
      '--print',
      '--format',
      'kysely'
    )
    await migrate(t, third.url, files, stage === 'prepare')
    t.equal(await dump(third), await dump(real), `${stage} as a migration`)
  }
  for (const { admin } of [twin, third]) t.same((await admin.query(wrong)).rows, [none])
})
