// An application with three tenants. Its registry counts its reads and can be made to fail.
import Fastify, { type FastifyInstance, type FastifyServerOptions } from 'fastify'
import { once } from 'node:events'
import { connect, type AddressInfo } from 'node:net'
import type { Test } from 'tap'

import { memoryRegistry, type TenantInput, type TenantRecord,
  type TenantRegistry } from '@fastify-tenancy/core'
import { tenantResolver, type TenantResolverOptions } from '@fastify-tenancy/resolver'

export const tenants: TenantInput[] = [
  { id: 't-acme', slug: 'acme', domains: ['acme.shop'] },
  { id: 't-globex', slug: 'globex', plan: 'pro' },
  { id: 't-ctor', slug: 'a' }
]

export class CountingRegistry implements TenantRegistry {
  readonly inner: TenantRegistry
  readonly asked: string[] = []
  /** If set, every read fails. */
  failure: Error | undefined
  /** If set, every read waits for it. */
  gate: Promise<void> | undefined

  constructor (inputs: Iterable<TenantInput> = tenants) {
    this.inner = memoryRegistry(inputs)
  }

  get reads (): number {
    return this.asked.length
  }

  findBySlug (slug: string): Promise<TenantRecord | undefined> {
    return this.#read(slug, () => this.inner.findBySlug(slug))
  }

  findByDomain (domain: string): Promise<TenantRecord | undefined> {
    return this.#read(domain, () => this.inner.findByDomain(domain))
  }

  findById (id: string): Promise<TenantRecord | undefined> {
    return this.#read(id, () => this.inner.findById(id))
  }

  list: TenantRegistry['list'] = filter => this.inner.list(filter)
  insert: TenantRegistry['insert'] = tenant => this.inner.insert(tenant)
  update: TenantRegistry['update'] = (id, version, changes) => this.inner.update(id, version, changes)

  /** Writes without announcing the change. */
  async set (id: string, changes: Parameters<TenantRegistry['update']>[2]): Promise<void> {
    const tenant = await this.inner.findById(id)
    await this.inner.update(id, tenant?.version ?? 0, changes)
  }

  async #read (
    name: string,
    read: () => Promise<TenantRecord | undefined>
  ): Promise<TenantRecord | undefined> {
    this.asked.push(name)
    const found = await read()
    await this.gate
    if (this.failure !== undefined) throw this.failure
    return found
  }
}

export interface App {
  readonly app: FastifyInstance
  readonly registry: CountingRegistry
  /** Returns the slug that `/` answers for a host, or the code of the refusal. */
  who(host: string, headers?: Record<string, string>): Promise<string>
}

/** `/` answers with the tenant's slug. `routes` adds more before the application is ready. */
export async function start (
  t: Test,
  options: Partial<TenantResolverOptions> = {},
  routes: (app: FastifyInstance) => void = () => {},
  server: FastifyServerOptions = {}
): Promise<App> {
  const registry = options.registry as CountingRegistry | undefined ?? new CountingRegistry()
  const app = Fastify(server)
  t.teardown(() => app.close())
  const hosts = options.hosts ?? options.strategies ? {} : { baseDomain: 'example.com' }
  const named = options.redis === undefined ? {} : { namespace: 'test' }
  await app.register(tenantResolver, { ...hosts, ...named, ...options, registry })
  app.get('/', request => ({ slug: request.tenant.slug, source: request.tenantSource }))
  routes(app)
  await app.ready()
  return {
    app,
    registry,
    async who (host, headers = {}) {
      const body: { slug?: string; code?: string } =
        (await app.inject({ url: '/', headers: { host, ...headers } })).json()
      return body.slug ?? body.code?.replace('FST_TENANCY_', '') ?? ''
    }
  }
}

/** Registers the plugin on an application. Rejects if boot refuses the options. */
export async function boot (
  app: FastifyInstance,
  options: Partial<TenantResolverOptions> = {}
): Promise<FastifyInstance> {
  await app.register(tenantResolver, {
    registry: new CountingRegistry(),
    baseDomain: 'example.com',
    ...options
  })
  return app
}

/** Sends bytes over a new connection and resolves to all bytes of the reply. */
export async function raw (app: FastifyInstance, ...parts: string[]): Promise<string> {
  if (app.server.listening === false) await app.listen({ port: 0, host: '127.0.0.1' })
  const socket = connect((app.server.address() as AddressInfo).port, '127.0.0.1').setEncoding('latin1')
  let text = ''
  socket.on('data', chunk => {
    text += chunk
  })
  for (const part of parts) socket.write(part, 'latin1')
  await once(socket, 'end')
  socket.destroy()
  return text
}

/** Returns the status and code (or slug) of each reply in the output of {@link raw}. */
export function answersIn (text: string): string[] {
  return text.split(/(?=HTTP\/1\.[01] \d)/).map(answer => {
    const status = /^HTTP\/1\.[01] (\d+)/.exec(answer)?.[1] ?? ''
    const word = /"(?:slug|code)":"([^"]*)"/.exec(answer)?.[1] ?? ''
    return `${status} ${word.replace('FST_TENANCY_', '')}`.trim()
  })
}
