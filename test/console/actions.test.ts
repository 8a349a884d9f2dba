// The four actions: what they do, what the audit says, and what is refused.
import t from 'tap'

import { Confirmations } from '../../packages/console/src/routes/confirmations.ts'
import { consoleWorld, operator } from './console-world.ts'

const world = await consoleWorld(t)
const { app, manager, get, confirm, on } = world
await app.ready()
const login = new URL(on.ownerUrl).username

async function audit (id: string): Promise<{ action: string; actor: string; details: object }[]> {
  const entries = []
  for await (const { action, actor, details } of manager.audit({ tenant: { id } }))
    entries.push({ action, actor, details })
  return entries
}

const served = async (slug: string): Promise<number> =>
  (await app.inject({ url: '/notes', headers: { host: `${slug}.example.com` } })).statusCode

t.test('each action does what it says once, and its audit line names the operator', async t => {
  t.equal(await served('globex'), 200)
  const suspend = await confirm('/tenants/g-1/suspend')
  t.equal(suspend.page.statusCode, 200)
  t.equal((await manager.get({ id: 'g-1' }))?.status, 'active', 'the page alone does nothing')
  const sent = await suspend.send({ form: { reason: '<b>unpaid</b>' } })
  t.match(sent, { statusCode: 303, headers: { location: '/_tenancy/tenants/g-1?done=suspend' } })
  t.equal((await manager.get({ id: 'g-1' }))?.status, 'suspended')
  t.equal(await served('globex'), 403)
  t.match((await get('/tenants/g-1?done=suspend')).body, /The tenant is suspended\.[^]*&lt;b&gt;unpaid/)

  t.equal((await (await confirm('/tenants/g-1/resume')).send()).statusCode, 303)
  t.equal((await manager.get({ id: 'g-1' }))?.status, 'active')

  const plan = await confirm('/tenants/g-1/plan?plan=free')
  t.match(plan.page.body, /600 a minute, 100 a second[^]*60 a minute/, 'the page says what the plans allow')
  t.equal((await plan.send()).statusCode, 303)
  t.equal((await manager.get({ id: 'g-1' }))?.plan, 'free')

  const before = await manager.get({ id: 'g-1' })
  t.equal((await (await confirm('/tenants/g-1/invalidate')).send()).statusCode, 303)
  t.match(await manager.get({ id: 'g-1' }), { ...before, version: 5, updatedAt: Date })

  t.same((await audit('g-1')).slice(1), [
    { action: 'suspend', actor: operator, details: { reason: '<b>unpaid</b>', login } },
    { action: 'resume', actor: operator, details: { status: 'active', login } },
    { action: 'update', actor: operator, details: { plan: 'free', login } },
    { action: 'invalidate', actor: operator, details: { login } }
  ])
  t.match(await audit('g-1'), [{ action: 'create', actor: login }], 'the manager alone names its login')
})

const limit = async (): Promise<unknown> =>
  (await app.inject({ url: '/notes', headers: { host: 'acme.example.com' } })).headers['x-ratelimit-limit']

t.test(
  'a change that went past the manager reaches requests with an invalidation, ' +
    'and not before',
  async t => {
    t.equal(await limit(), '60')
    const limits = { free: '60', pro: '600' }
    // Without triggers, so that no process hears of it. A process that has just begun may read the
    // record again of its own accord: then it is changed once more, until the process has an old copy.
    let plan: keyof typeof limits = 'pro'
    for (;;) {
      await on.admin(`begin; set local session_replication_role = replica;
      update tenancy.tenants set plan = '${plan}' where id = 'a-1'; commit`)
      if (await limit() !== limits[plan]) break
      plan = plan === 'pro' ? 'free' : 'pro'
    }
    t.equal((await (await confirm('/tenants/a-1/invalidate')).send()).statusCode, 303)
    t.equal(await limit(), limits[plan])
  }
)

t.test('a forged, foreign, altered or repeated form does nothing', async t => {
  const tries: [string, Parameters<Awaited<ReturnType<typeof confirm>>['send']>[0]][] = [
    ['no cookie', { headers: { cookie: '' } }],
    ['a cookie of another session', { headers: { cookie: `tenancy-console=${'A'.repeat(43)}` } }],
    ['no token', { form: { token: '' } }],
    ['a token of nothing', { form: { token: 'a.99999999999999.b' } }],
    ['another version', { form: { version: '7' } }],
    ['a plan that was not shown', { form: { plan: 'pro' } }],
    ['another tenant', { path: '/tenants/a-1/suspend' }],
    ['another action', { path: '/tenants/g-1/invalidate' }],
    ['another operator', { headers: { 'x-operator': 'mallory' } }],
    ['a form of another site', { headers: { 'sec-fetch-site': 'cross-site' } }],
    ['a form of a sister site', { headers: { 'sec-fetch-site': 'same-site' } }],
    ['an unknown relation', { headers: { 'sec-fetch-site': '' } }]
  ]
  const [first, lines] = [await manager.get({ id: 'g-1' }), (await audit('g-1')).length]
  for (const [how, change] of tries) {
    const reply = await (await confirm('/tenants/g-1/suspend')).send(change)
    t.equal(reply.statusCode, 403, how)
    t.match(reply.body, /nothing was done/i, how)
  }
  const twice = await confirm('/tenants/g-1/suspend')
  const two = `tenancy-console=${'B'.repeat(43)}`
  t.equal(
    (await twice.send({ headers: { cookie: `${twice.cookie}; ${two}` } })).statusCode,
    403,
    'two cookies'
  )
  for (
    const [body, type, status] of [['{}', 'application/json', 415], ['token=a',
      'application/x-www-form-urlencoded', 400], ['token=a&token=b&version=1',
      'application/x-www-form-urlencoded', 400], [`token=${'a'.repeat(9_000)}`,
      'application/x-www-form-urlencoded', 413]] as const
  ) {
    const reply = await app.inject({
      method: 'POST',
      url: '/_tenancy/tenants/g-1/suspend',
      headers: { 'x-operator': operator, 'content-type': type, cookie: twice.cookie },
      payload: body
    })
    t.equal(reply.statusCode, status, body.slice(0, 20))
  }
  t.same(await manager.get({ id: 'g-1' }), first)
  t.equal((await audit('g-1')).length, lines)
})

t.test('over plain HTTP a sister host that sets the session cookie cannot act', async t => {
  const session = 'S'.repeat(43)
  const { version = 0 } = await manager.get({ id: 'g-1' }) ?? {}
  const post = async (origin: string | undefined): Promise<number> => {
    const token = new Confirmations().issue(session, {
      actor: operator,
      action: 'suspend',
      tenant: 'g-1',
      version
    })
    const reply = await app.inject({
      method: 'POST',
      url: '/_tenancy/tenants/g-1/suspend',
      headers: {
        host: 'ops.example.com:8080',
        'x-operator': operator,
        cookie: `tenancy-console=${session}`,
        'content-type': 'application/x-www-form-urlencoded',
        ...(origin !== undefined && { origin })
      },
      payload: new URLSearchParams({ token, version: String(version) }).toString()
    })
    return reply.statusCode
  }
  for (
    const origin of ['http://evil.example.com', 'http://ops.example.com', 'null', '',
      'http://ops.example.com:8080.evil.com', 'http://ops.example.com:8080@evil.com']
  )
    t.equal(await post(origin), 403, origin)
  t.match(await manager.get({ id: 'g-1' }), { status: 'active', version })
  t.equal(await post('http://OPS.example.com:8080'), 303, 'control: the console itself can')
  await manager.resume({ id: 'g-1' })
})

t.test('every line of a manager with an actor names the actor, and no name is odd', async t => {
  const bob = manager.as('bob')
  await bob.create({ slug: 'bobs', id: 'b-1' })
  await bob.domains.add({ id: 'b-1' }, 'bobs.test')
  await bob.as('carol').rename({ id: 'b-1' }, 'carols')
  await bob.delete({ id: 'b-1' })
  await manager.resume({ id: 'b-1' })
  t.same((await audit('b-1')).map(({ action, actor }) => [action, actor]), [['create', 'bob'], ['domain.add',
    'bob'], ['rename', 'carol'], ['delete', 'bob'], ['undelete', login]])
  for (const name of ['', 'x'.repeat(201), 'a\nb', 'a\0', 7, undefined])
    t.throws(() => manager.as(name as string), { code: 'FST_TENANCY_OPTION_INVALID' }, JSON.stringify(name))
})

t.test('a form is taken once: sent again, it is refused, also by a process that did not see it', async t => {
  const twin = await world.another(t)
  const invalidate = await confirm('/tenants/g-1/invalidate')
  t.equal((await invalidate.send()).statusCode, 303)
  const again = await invalidate.send()
  t.match(again, { statusCode: 403, body: /used already/ })
  t.match(await invalidate.send({ app: twin }), { statusCode: 409, body: /was changed since/ })
  const fresh = await confirm('/tenants/g-1/invalidate')
  t.equal(
    (await fresh.send({ app: twin })).statusCode,
    303,
    'control: another process takes a page of this one'
  )
  const lines = (await audit('g-1')).filter(({ action }) => action === 'invalidate')
  t.equal(lines.length, 3)
})

t.test('what does not fit the status is refused before and after the confirmation', async t => {
  t.match(await get('/tenants/g-1/resume'), { statusCode: 409, body: /globex is active/ })
  const resume = await confirm('/tenants/g-1/suspend')
  await manager.suspend({ id: 'g-1' })
  t.match(await resume.send(), { statusCode: 409, body: /was changed since/ })
  t.equal((await get('/tenants/none/suspend')).statusCode, 404)
  t.equal((await get('/tenants/g-1/delete')).statusCode, 404, 'nothing here deletes')
  for (const plan of ['', '?plan=', '?plan=a&plan=b', `?plan=${'x'.repeat(64)}`, '?plan=a%00b'])
    t.equal((await get(`/tenants/g-1/plan${plan}`)).statusCode, 400, plan)
})

t.test('over TLS the session cookie is Secure and of this host alone', async t => {
  const plain = await get('/tenants/a-1/invalidate')
  t.match(plain.headers['set-cookie'], /^tenancy-console=[\w-]{43}; Path=\/; HttpOnly; SameSite=Strict$/)
  const { headers } = await get('/tenants/a-1/invalidate', operator, { 'x-forwarded-proto': 'https' })
  t.match(
    headers['set-cookie'],
    /^__Host-tenancy-console=[\w-]{43}; Path=\/; HttpOnly; SameSite=Strict; Secure$/
  )
})
