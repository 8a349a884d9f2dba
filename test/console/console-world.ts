// An application with the console on it, tenants whose names are markup, and a manager of the same
// database.
import tenancyConsole from '@fastify-tenancy/console'
import { createManager, type Manager } from '@fastify-tenancy/manager'
import Fastify, { type FastifyInstance, type LightMyRequestResponse } from 'fastify'
import tenancy from 'fastify-tenancy'
import type { Test } from 'tap'

import { dbOf } from '../support/suite.ts'
import { provision, type Provisioned } from '../support/tenants.ts'

/** A name that would run in a page which does not escape it. */
export const hostile = '<img src=x onerror="document.title=\'pwned\'">'

export const operator = 'alice@example.com'

export interface ConsoleWorld {
  readonly on: Provisioned
  readonly app: FastifyInstance
  readonly manager: Manager
  /** A request as an operator, or with `null` as a stranger. */
  get(url: string, as?: string | null, headers?: Record<string, string>): Promise<LightMyRequestResponse>
  /** Opens another process of the application, in this one. */
  another(t: Test): Promise<FastifyInstance>
  /** Opens the confirmation page of an action. */
  confirm(path: string, as?: string): Promise<Confirmation>
}

export interface Confirmation {
  readonly page: LightMyRequestResponse
  /** What the browser keeps, and what the form of the page would send. */
  readonly cookie: string
  readonly form: Record<string, string>
  /** Sends the form. */
  send(
    more?: {
      readonly form?: Record<string, string>
      readonly headers?: Record<string, string>
      readonly path?: string
      /** Another process of the application. */
      readonly app?: FastifyInstance
    }
  ): Promise<LightMyRequestResponse>
}

/** @param before what is to be done to the application before the console is registered */
export async function consoleWorld (
  t: Test,
  before: (app: FastifyInstance) => void = () => {}
): Promise<ConsoleWorld> {
  const on = await provision(t)
  const settings = {
    database: { url: on.url, registryUrl: on.registryUrl },
    tables: on.tables,
    ...(on.secret !== undefined && { rls: { secret: on.secret } })
  }
  const manager = createManager({ ...settings, database: { ...settings.database, ownerUrl: on.ownerUrl } })
  t.teardown(() => manager.close())
  const open = async (t: Test): Promise<FastifyInstance> => {
    const app = Fastify({ trustProxy: true })
    t.teardown(() => app.close())
    await app.register(tenancy, {
      ...settings,
      baseDomain: 'example.com',
      rateLimit: { limits: { plans: { free: { rpm: 60 }, pro: { rpm: 600, burst: 100 } } } }
    })
    app.get('/notes', request => dbOf(request).selectFrom('notes').select('body').execute())
    before(app)
    await app.register(tenancyConsole, {
      prefix: '/_tenancy',
      manager,
      authorize: ({ headers }) => {
        if (headers['x-operator'] === 'unknown') throw Object.assign(new Error('who?'), { statusCode: 401 })
        return headers['x-operator'] as string | undefined
      }
    })
    return app
  }
  const app = await open(t)
  await manager.create({
    slug: 'acme',
    id: 'a-1',
    name: hostile,
    settings: { theme: '</code><script>1</script>' }
  })
  await manager.create({ slug: 'globex', id: 'g-1', plan: 'pro' })

  const get: ConsoleWorld['get'] = (url, as = operator, headers = {}) =>
    app.inject({ url: `/_tenancy${url}`, headers: { ...(as !== null && { 'x-operator': as }), ...headers } })
  return {
    on,
    app,
    manager,
    get,
    another: open,
    async confirm (path, as = operator) {
      const page = await get(path, as)
      const cookie = String(page.headers['set-cookie'] ?? '').split(';')[0] ?? ''
      const form = Object.fromEntries(
        [...page.body.matchAll(/<input type="hidden" name="(\w+)" value="([^"]*)">/g)].map((
          [, name = '', value = '']
        ) => [name, value])
      )
      return {
        page,
        cookie,
        form,
        send: (more = {}) =>
          (more.app ?? app).inject({
            method: 'POST',
            url: `/_tenancy${(more.path ?? path).split('?')[0]}`,
            headers: {
              'x-operator': as,
              cookie,
              'content-type': 'application/x-www-form-urlencoded',
              'sec-fetch-site': 'same-origin',
              ...more.headers
            },
            payload: new URLSearchParams({ ...form, ...more.form }).toString()
          })
      }
    }
  }
}
