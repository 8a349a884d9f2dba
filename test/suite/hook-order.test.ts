// The table of hooks at the top of packages/resolver/src/plugin.ts, compared with a real application.
import { memoryRegistry } from '@fastify-tenancy/core'
import Fastify, { type FastifyInstance, type RouteOptions } from 'fastify'
import tenancy from 'fastify-tenancy'
import { readFile } from 'node:fs/promises'
import t from 'tap'

import { tenants } from '../support/suite.ts'
import { provision } from '../support/tenants.ts'

type Hook = (this: unknown, ...args: unknown[]) => unknown
type RouteHooks = Record<string, Hook | Hook[] | undefined>

const on = await provision(t)
const routeHooks = ['onRequest', 'preParsing', 'preValidation', 'preHandler', 'onSend']
const plugin = new URL('../../packages/resolver/src/plugin.ts', import.meta.url)
const acme = { host: 'acme.example.com', 'x-claim': 'acme' }

t.test('the hooks of the suite stand in the table of the resolver in their order', async t => {
  const { registered } = await serve(t)
  t.strictSame(registered.toSorted(byPhase), await tableRows())
})

t.test('a request runs the hooks in the order of the table', async t => {
  const { app, ran } = await serve(t)
  const { statusCode } = await app.inject({
    url: '/',
    headers: acme
  })
  t.equal(statusCode, 200)
  const table = await tableRows()
  t.strictSame(ran, table.filter(row => ran.includes(row)))
  for (const phase of [...routeHooks, 'onResponse'])
    t.strictSame(ran.filter(ofPhase(phase)), table.filter(ofPhase(phase)))
})

t.test('a failing request runs the onError hooks in the order of the table', async t => {
  const { app, ran } = await serve(t)
  t.equal((await app.inject({ url: '/?fails', headers: acme })).statusCode, 500)
  t.strictSame(ran.filter(ofPhase('onError')), (await tableRows()).filter(ofPhase('onError')))
})

/** Returns an application with every hook of the suite, and the lists of registered and run hooks. */
async function serve (t: { teardown(work: () => unknown): unknown }): Promise<{
  readonly app: FastifyInstance
  readonly registered: readonly string[]
  readonly ran: readonly string[]
}> {
  const app = Fastify()
  t.teardown(() => app.close())
  const registered: string[] = []
  const ran: string[] = []
  const recorded = (row: string, hook: Hook): Hook => {
    registered.push(row)
    return function (...args) {
      ran.push(row)
      return Reflect.apply(hook, this, args)
    }
  }
  const addHook = app.addHook as (name: string, hook: Hook) => FastifyInstance
  app.addHook = function (this: FastifyInstance, name: string, hook: Hook) {
    const owner = ownerOf(new Error().stack)
    if (name === 'onClose') return Reflect.apply(addHook, this, [name, hook])
    if (name === 'onRoute') {
      registered.push(rowOf(name, 'app', owner))
      return Reflect.apply(addHook, this, [name, recordsRouteHooks(hook, owner, recorded)])
    }
    const isOfRequest = [...routeHooks, 'onError', 'onResponse', 'onTimeout', 'onRequestAbort'].includes(name)
    const row = rowOf(name, 'app', owner)
    if (!isOfRequest) registered.push(row)
    return Reflect.apply(addHook, this, [name, isOfRequest ? recorded(row, hook) : hook])
  } as typeof app.addHook
  await app.register(tenancy, {
    baseDomain: 'example.com',
    database: on.url,
    rls: { secret: on.secret ?? '' },
    tables: on.tables,
    registry: memoryRegistry(tenants),
    resolver: {
      strategies: ['subdomain', 'header', 'claim'],
      claim: ({ headers }) => headers['x-claim'] as string
    },
    rateLimit: { limits: {} }
  })
  const config = { tenancy: { transaction: true }, rateLimit: { max: 100 } }
  app.get('/', { config, exposeHeadRoute: false }, async ({ query }) => {
    if (Object.keys(query as object).includes('fails')) throw new Error('fails')
    return 'ok'
  })
  await app.ready()
  return { app, registered, ran }
}

/** Wraps an onRoute hook so that the route hooks that it adds are recorded. */
function recordsRouteHooks (hook: Hook, owner: string, recorded: (row: string, hook: Hook) => Hook): Hook {
  return function (...args) {
    const route = args[0] as RouteOptions & RouteHooks
    const before = routeHooks.map(name => [route[name] ?? []].flat())
    const result = Reflect.apply(hook, this, args)
    for (const [at, name] of routeHooks.entries()) {
      const now = [route[name] ?? []].flat() as Hook[]
      if (now.length === before[at]?.length) continue
      const row = rowOf(name, 'route', owner)
      Object.assign(route, {
        [name]: now.map(each => before[at]?.includes(each) ? each : recorded(row, each))
      })
    }
    return result
  }
}

function ownerOf (stack = ''): string {
  const [, own, other] = /packages\/([\w-]+)\/src|node_modules\/(@fastify\/[\w-]+)\/index/.exec(
    stack.split('\n')[2] ?? ''
  ) ?? []
  return own ?? other ?? 'unknown'
}

function rowOf (hook: string, on: string, owner: string): string {
  return `${hook} ${on} ${owner}`
}

async function tableRows (): Promise<string[]> {
  const text = await readFile(plugin, 'utf8')
  return [...text.matchAll(/^ \* \| (\w+) +\| (app|route) +\| (\S+) +\|/gm)].map(([, hook, on, owner]) =>
    rowOf(hook ?? '', on ?? '', owner ?? '')
  )
}

function ofPhase (phase: string): (row: string) => boolean {
  return row => row.startsWith(`${phase} `)
}

const phases = ['onRoute', 'onReady', 'onListen', ...routeHooks, 'onError', 'onResponse', 'onTimeout',
  'onRequestAbort', 'preClose']

function byPhase (a: string, b: string): number {
  return rankOf(a) - rankOf(b)
}

function rankOf (row: string): number {
  return 2 * phases.indexOf(row.split(' ')[0] ?? '') + Number(row.includes(' route '))
}
