import t from 'tap'

import { toTenant, memoryRegistry, TenantUnknownError, type TenantRecord,
  type TenantRegistry } from '@fastify-tenancy/core'
import { registryConformance } from '@fastify-tenancy/testing'

const dead = (): never => {
  throw new Error('connect ECONNREFUSED')
}
const fails = async (): Promise<never> => dead()
const unreachable: TenantRegistry = {
  findBySlug: fails,
  findByDomain: fails,
  findById: fails,
  list: dead,
  insert: fails,
  update: fails
}

for (const { name, run } of registryConformance(memoryRegistry, { unreachable: () => unreachable }))
  t.test(`memoryRegistry: ${name}`, run)

// Each breaks one promise: a suite that stays green for one of them checks nothing there.
const broken: Record<string, (registry: TenantRegistry) => Partial<TenantRegistry>> = {
  'a tenant is found by its id, slug and domain, with all that it was inserted with': registry => ({
    findByDomain: async () => (await registry.list()[Symbol.asyncIterator]().next()).value.slug as never
  }),
  'what is not given has its default': registry => ({
    insert: input => registry.insert({ plan: 'basic', ...input })
  }),
  'nobody is undefined, whatever the name': registry => ({
    findBySlug: slug => registry.findBySlug(slug.toLowerCase())
  }),
  'list gives every tenant once, by id, and only those that a filter names': registry => ({
    list: () => registry.list()
  }),
  'a taken id, slug or domain is a conflict and changes nothing': registry => ({
    insert: async input => registry.insert({ ...input, domains: [] })
  }),
  'a slug or id that breaks its rule is a conflict': () => ({
    insert: async input => ({ ...toTenant({ id: 'x', slug: 'x' }), ...input })
  }),
  'of two inserts of one slug at once, one wins': () => ({ insert: async input => toTenant(input) }),
  'an update changes what it names and counts the version up': registry => ({
    update: async (id, version, changes) => ({ ...await registry.update(id, version, changes), version })
  }),
  'an update of a version that is not the newest is a conflict and changes nothing': registry => ({
    update: async (id, _version, changes) =>
      registry.update(id, (await registry.findById(id))?.version ?? 0, changes)
  }),
  'of two updates of one version at once, one wins': () => ({
    update: async (id, _version, changes) => toTenant({ id, slug: 'x', ...changes })
  }),
  'an update to a taken slug or domain is a conflict and changes nothing': registry => ({
    update: (id, version, changes) => registry.update(id, version, { ...changes, domains: [] })
  }),
  'an update of nobody says that the tenant is unknown': registry => ({
    update: async (id, version, changes) =>
      registry.update(id, version, changes).catch((error: unknown) =>
        error instanceof TenantUnknownError ? toTenant({ id, slug: 'x' }) : Promise.reject(error)
      )
  }),
  'a record cannot be changed, through itself or through what it was made from': registry => ({
    findById: async id => thaw(await registry.findById(id))
  }),
  'an outage is an error, never an unknown tenant': () => ({ findBySlug: async () => undefined })
}

function thaw (tenant: TenantRecord | undefined): TenantRecord | undefined {
  return tenant && { ...tenant }
}

t.test('control: each check goes red for a registry that breaks its promise', async t => {
  const names = registryConformance(memoryRegistry, { unreachable: () => unreachable }).map(({ name }) =>
    name
  )
  t.same(names.toSorted(), Object.keys(broken).toSorted(), 'every check has its control')
  for (const name of names) {
    const breakIt = broken[name] ?? (() => ({}))
    const checks = registryConformance(() => withChange(memoryRegistry(), breakIt), {
      unreachable: () => withChange(unreachable, breakIt)
    })
    await t.rejects(checks.find(check => check.name === name)?.run() ?? Promise.resolve(), {
      name: 'AssertionError'
    }, name)
  }
})

// A registry whose other methods are the real one's: it is a class with private state, so they are bound.
function withChange (
  registry: TenantRegistry,
  change: (registry: TenantRegistry) => Partial<TenantRegistry>
): TenantRegistry {
  return {
    findBySlug: slug => registry.findBySlug(slug),
    findByDomain: domain => registry.findByDomain(domain),
    findById: id => registry.findById(id),
    list: filter => registry.list(filter),
    insert: input => registry.insert(input),
    update: (id, version, changes) => registry.update(id, version, changes),
    ...change(registry)
  }
}
