// Who sees the pages, and what is on them.
import tenancyConsole from '@fastify-tenancy/console'
import Fastify, { type FastifyReply } from 'fastify'
import { mock } from 'node:test'
import t from 'tap'

import { consoleWorld, hostile, operator } from './console-world.ts'

const world = await consoleWorld(t)
const { app, manager, get, on } = world
await app.ready()
await on.admin('create table "<script>alert(1)</script>" (tenant_id text)')

const pages = ['/', '/tenants/a-1', '/tenants/a-1/live', '/tenants/a-1/suspend', '/fleet', '/fleet/live',
  '/doctor', '/nothing']
const asset = /\/_tenancy(\/assets\/\w+\.css)/.exec((await get('/')).body)?.[1] ?? ''

const authorize = (): string => operator

t.test('without authorize, a manager or a prefix the console does not register', async t => {
  for (
    const [options, message] of [[{ prefix: '/x', manager }, /options\.authorize is required/], [{
      prefix: '/x',
      manager,
      authorize: true
    }, /options\.authorize must be a function/], [{ prefix: '/x', authorize }, /options\.manager/], [{
      manager,
      authorize
    }, /options\.prefix is required/], [{ prefix: '/x', manager, authorize, readOnly: true },
      /options\.readOnly is not a known option/]] as const
  ) {
    const bare = Fastify().decorate('tenancy', app.tenancy)
    await t.rejects(async () => {
      await bare.register(tenancyConsole, options as never)
    }, { code: 'FST_TENANCY_OPTION_INVALID', message })
  }
  await t.rejects(
    async () => {
      await Fastify().register(tenancyConsole, { prefix: '/x', manager, authorize })
    },
    { code: 'FST_ERR_PLUGIN_NOT_PRESENT_IN_INSTANCE' },
    'nor without the suite'
  )
})

t.test('a stranger gets 401 or 403 on each page, part, file and action, and learns nothing', async t => {
  t.match(asset, /^\/assets\//)
  for (const url of [...pages, asset]) {
    for (
      const [as, status] of [[null, 403], ['', 403], ['unknown', 401], ['a\tb', 403], ['x'.repeat(201),
        403]] as const
    ) {
      const reply = await get(url, as)
      t.equal(reply.statusCode, status, `${url} as ${as}`)
      t.notMatch(reply.body, /acme|globex|default|nav|L1|process/i, url)
      t.notOk(reply.headers['set-cookie'])
    }
    t.equal((await app.inject({ method: 'HEAD', url: `/_tenancy${url}` })).statusCode, 403, `HEAD ${url}`)
  }
  for (const action of ['suspend', 'resume', 'plan', 'invalidate']) {
    const { statusCode } = await app.inject({
      method: 'POST',
      url: `/_tenancy/tenants/a-1/${action}`,
      headers: { 'content-type': 'application/x-www-form-urlencoded' },
      payload: 'token=a&version=1'
    })
    t.equal(statusCode, 403, action)
  }
  t.match(await manager.get({ id: 'a-1' }), { status: 'active', version: 1 })
})

t.test('authorize may send a reply, and whatever else it does shows nothing', async t => {
  const answers: [unknown, number][] = [[null, 403], [true, 403], [{ name: 'alice' }, 403], [['alice'], 403],
    [
      new Error('away'),
      500
    ], [Object.assign(new Error('fine'), { statusCode: 200 }), 500]]
  let answer: unknown
  const other = Fastify().decorate('tenancy', app.tenancy)
  await other.register(tenancyConsole, {
    prefix: '/ops',
    manager,
    authorize: async (_request, reply) => {
      if (answer === 'login') return reply.redirect('/login')
      if (answer instanceof Error) throw answer
      return answer as string
    }
  })
  t.teardown(() => other.close())
  for (const [given, status] of answers) {
    answer = given
    const { statusCode, body } = await other.inject('/ops/tenants/a-1')
    t.equal(statusCode, status, String(given))
    t.notMatch(body, /acme|away|fine/)
  }
  answer = 'login'
  t.match(await other.inject('/ops/'), { statusCode: 302, headers: { location: '/login' }, body: '' })
  answer = operator
  t.match((await other.inject('/ops/')).body, /href="\/ops\/tenants\/a-1"/, 'control: a name is let in')
})

t.test('the parsers of the application stay its own', async t => {
  const other = Fastify().decorate('tenancy', app.tenancy)
  t.teardown(() => other.close())
  other.addContentTypeParser(
    'application/x-www-form-urlencoded',
    { parseAs: 'string' },
    async () => 'its own'
  )
  await other.register(tenancyConsole, { prefix: '/ops', manager, authorize: () => operator })
  other.post('/echo', async ({ body }) => ({ body }))
  const type = 'application/x-www-form-urlencoded'
  const post = async (contentType: string, payload: string): Promise<unknown> =>
    (await other.inject({ method: 'POST', url: '/echo', headers: { 'content-type': contentType }, payload }))
      .json()
  t.same(await post(type, 'a=b'), { body: 'its own' })
  t.same(await post('application/json', '{"a":1}'), { body: { a: 1 } })
})

t.test('every reply forbids what is inline, what is foreign, and frames', async t => {
  for (const url of [...pages, asset]) {
    for (const as of [operator, null]) {
      const { headers } = await get(url, as)
      const policy = String(headers['content-security-policy'])
      t.match(policy, /default-src 'none'.*script-src 'self';.*frame-ancestors 'none'/, url)
      t.notMatch(policy, /unsafe|https?:|\*|data:/)
      t.match(headers, { 'x-content-type-options': 'nosniff', 'x-frame-options': 'DENY' })
      if (as === null || !url.startsWith('/assets')) t.equal(headers['cache-control'], 'no-store')
    }
  }
})

t.test('an application that shares its replies with other sites does not share the console', async t => {
  const other = Fastify().decorate('tenancy', app.tenancy)
  t.teardown(() => other.close())
  for (const hook of ['onRequest', 'onSend'] as const) {
    other.addHook(hook, async (_request: unknown, reply: FastifyReply) => {
      reply.headers({
        'access-control-allow-origin': 'https://evil.com',
        'access-control-allow-credentials': 'true'
      })
    })
  }
  other.get('/own', async () => 'shared')
  await other.register(tenancyConsole, {
    prefix: '/ops',
    manager,
    authorize: ({ headers }) => headers['x-operator'] as string | undefined
  })
  const shares = async (url: string, headers: Record<string, string>): Promise<boolean> =>
    JSON.stringify((await other.inject({ url, headers })).headers).includes('access-control')
  for (const url of ['/ops', '/ops/tenants/a-1/live', '/ops/tenants/a-1/suspend', '/ops/none'])
    for (const headers of [{}, { 'x-operator': operator }]) t.notOk(await shares(url, headers), url)
  t.ok(await shares('/own', {}), 'control')
})

t.test('a name, a setting, an audit line and a finding that are markup are shown as text', async t => {
  await manager.as(hostile).suspend({ id: 'a-1' }, { reason: hostile })
  const bodies = await Promise.all(
    ['/', '/tenants/a-1', '/tenants/a-1/resume', '/doctor', `/?q=${encodeURIComponent(hostile)}`,
      `/tenants/${encodeURIComponent(hostile)}`,
      `/tenants/a-1/plan?plan=${encodeURIComponent('<script>1</script>')}`,
      `/tenants/a-1?done=${encodeURIComponent(hostile)}`].map(async url => (await get(url)).body)
  )
  for (const body of bodies) {
    t.notMatch(body, /<img|<\/code><script>|<script>/)
    t.match(body, /<main/)
  }
  t.match(bodies[1], /&lt;img src=x onerror=&quot;[^]*&lt;\/code&gt;&lt;script&gt;/)
  t.match(bodies[3], /&lt;script&gt;alert\(1\)&lt;\/script&gt;/)
  const as = await get('/', '<script>me</script>')
  t.match(as, { statusCode: 200, body: /&lt;script&gt;me/ }, 'the operator’s own name, too')
  await manager.resume({ id: 'a-1' })
})

const listed = (body: string): string[] =>
  [...body.matchAll(/href="\/_tenancy\/tenants\/([\w-]+)"/g)].map(([, id = '']) => id)

t.test('tenants are found by a part of slug or name, by id and by domain, 50 a page', async t => {
  await on.admin(`insert into tenancy.tenants (id, slug, name, status, plan, isolation, shard)
    select 'p-' || n, 'page-' || lpad(n::text, 3, '0'), 'Company 100% _' || n, 'active', 'free', 'rls',
    'default'
    from generate_series(1, 120) n`)
  await on.admin(
    "insert into tenancy.domains (tenant_id, domain, verified_at) values ('p-7', 'shop.test', now())"
  )
  const seen: string[] = []
  for (let url: string | undefined = '/?q=page-'; url !== undefined;) {
    const { body } = await get(url)
    const ids = listed(body)
    t.ok(ids.length <= 50)
    seen.push(...ids)
    url = /href="\/_tenancy([^"]+)" rel="next"/.exec(body)?.[1]?.replaceAll('&amp;', '&')
  }
  t.same(seen, Array.from({ length: 120 }, (_, n) => `p-${n + 1}`), 'each once, in order of the slug')
  for (
    const [text, ids] of [['PAGE-007', ['p-7']], ['100% _12', ['p-12', 'p-120']], ['p-7', ['p-7']], [
      'shop.test',
      ['p-7']
    ], ['%', 120], ['globex', ['g-1']], ['nobody at all', []]] as const
  ) {
    const found = listed((await get(`/?q=${encodeURIComponent(text)}`)).body)
    if (typeof ids === 'number') t.equal(found.length, 50, text)
    else t.same(found, ids, text)
  }
  t.same(listed((await get('/?status=suspended')).body), [])
  for (
    const odd of ['?q=a&q=b', '?q=%00', `?q=${'x'.repeat(400)}`, '?status=odd', '?slug=a', '?slug=%00&id=1']
  )
    t.equal((await get(`/${odd}`)).statusCode, 200, odd)
})

t.test('unfinished work is on the list and on the page of its tenant', async t => {
  await manager.create({ slug: 'leaving', id: 'l-1' })
  await manager.delete({ id: 'l-1' })
  t.match((await get('/')).body, /0 moves not confirmed, 1 deletion not purged/)
  t.match((await get('/?q=leaving')).body, /deletion due in 6 days/)
  t.match((await get('/tenants/l-1')).body, /the data is purged from[^]*npx tenancy resume leaving/)
})

t.test('the doctor’s findings are there with the SQL that mends them', async t => {
  t.equal((await get('/doctor?again=1')).statusCode, 303)
  const { findings } = await manager.doctor()
  const { body } = await get('/doctor')
  for (const { id } of findings) t.match(body, id)
  t.match(body, /revoke TEMPORARY on database/)
})

t.test('the fleet is shown from memory, and without telemetry no number is made up', async t => {
  const other = await consoleWorld(t, app => {
    Object.defineProperty(app.tenancy, 'usage', { value: undefined })
  })
  await other.app.ready()
  await other.manager.close()
  const { statusCode, body } = await other.get('/fleet')
  t.equal(statusCode, 200, 'also while the manager has no database')
  t.match(body, /shard default[^]*redis[^]*not configured[^]*isolation level[^]*L\d/)
  t.match(body, /Telemetry is not installed/)
  const away = await other.get('/')
  t.ok(away.statusCode >= 500)
  t.match(away.body, /cannot be reached|has the reason/)
})

t.test('requests and statements of a tenant are on its page', {
  skip: !('usage' in app.tenancy) && 'needs @fastify-tenancy/telemetry'
}, async t => {
  const other = await consoleWorld(t)
  mock.timers.enable({ apis: ['setInterval'] })
  t.teardown(() => {
    mock.timers.reset()
  })
  await other.app.ready()
  for (let request = 0; request < 70; request++)
    await other.app.inject({ url: '/notes', headers: { host: 'acme.example.com' } })
  mock.timers.tick(15_000)
  const { body } = await other.get('/tenants/a-1')
  t.match(body, /70 in the last minute, of 60[^]*10 refused requests/)
  t.match((await other.get('/tenants/g-1')).body, /0 in the last minute, of 600/)
  t.match((await other.get('/fleet')).body, /Busiest tenants[^]*>acme<\/a>/)
})
