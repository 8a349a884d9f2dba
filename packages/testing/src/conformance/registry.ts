import assert from 'node:assert/strict'
import { randomBytes, randomUUID } from 'node:crypto'

import type { TenantFilter, TenantInput, TenantRecord, TenantRegistry } from '@fastify-tenancy/core'

import type { ConformanceCheck } from './check.ts'

export interface RegistryConformanceOptions {
  /**
   * Returns a registry whose store cannot be reached. Without it, the difference between an outage
   * and an unknown tenant is not checked.
   */
  readonly unreachable?: () => TenantRegistry | Promise<TenantRegistry>
}

/**
 * Returns checks for the guarantees of a {@link TenantRegistry} beyond its types. The checks share
 * nothing and use random ids (uuids) and slugs, so they may run in parallel over one store with
 * other tenants.
 *
 * @param makeRegistry called once for each check; the caller closes the registries.
 */
export function registryConformance (
  makeRegistry: () => TenantRegistry | Promise<TenantRegistry>,
  options: RegistryConformanceOptions = {}
): ConformanceCheck[] {
  const checks = Object.entries(promises).map(([name, check]): ConformanceCheck => ({
    name,
    run: async () => check(await makeRegistry())
  }))
  const { unreachable } = options
  if (unreachable !== undefined)
    checks.push({
      name: 'an outage is an error, never an unknown tenant',
      run: async () => failsInOutage(await unreachable())
    })
  return checks
}

const promises: Record<string, (registry: TenantRegistry) => Promise<void>> = {
  'a tenant is found by its id, slug and domain, with all that it was inserted with': async registry => {
    const input = {
      ...someone(),
      name: 'Ünïted "Acme"',
      plan: 'pro',
      status: 'suspended',
      settings: { theme: { dark: true } }
    } as const
    const inserted = await registry.insert(input)
    assertHas(inserted, input)
    assert.equal(inserted.version, 1)
    for (const found of await findEveryWay(registry, inserted))
      assert.deepEqual(plain(found), plain(inserted))
  },

  'what is not given has its default': async registry => {
    const { id, slug } = someone()
    const tenant = await registry.insert({ id, slug })
    assertHas(tenant, { name: slug, status: 'active', plan: 'free', domains: [], settings: {} })
    assert.ok(tenant.createdAt.getTime() === tenant.updatedAt.getTime())
  },

  'nobody is undefined, whatever the name': async registry => {
    const { slug, domains } = await registry.insert(someone())
    for (
      const name of ['nobody-of-this-name', '', '__proto__', 'constructor', slug.toUpperCase(), `${slug}%`,
        `${slug}'`, domains[0] ?? '']
    ) {
      assert.equal(await registry.findBySlug(name), undefined, `findBySlug(${JSON.stringify(name)})`)
    }
    for (const name of ['nobody.example', '', '__proto__', slug])
      assert.equal(await registry.findByDomain(name), undefined, `findByDomain(${JSON.stringify(name)})`)
    for (const id of [randomUUID(), '', 'constructor', slug])
      assert.equal(await registry.findById(id), undefined, `findById(${JSON.stringify(id)})`)
  },

  'list gives every tenant once, by id, and only those that a filter names': async registry => {
    const plan = `plan-${randomBytes(6).toString('hex')}`
    const inserted = await Promise.all([
      registry.insert({ ...someone(), plan }),
      registry.insert({ ...someone(), plan }),
      registry.insert({ ...someone(), plan, status: 'suspended' }),
      registry.insert(someone())
    ])
    const all = ids(await collect(registry))
    for (const { id } of inserted) assert.equal(all.filter(listed => listed === id).length, 1)
    const ofPlan = ids(inserted.slice(0, 3)).toSorted()
    assert.deepEqual(ids(await collect(registry, { plan })), ofPlan)
    assert.deepEqual(ids(await collect(registry, { plan, status: ['suspended', 'deleting'] })), [
      inserted[2].id
    ])
    assert.deepEqual(ids(await collect(registry, { plan, isolation: inserted[0].isolation })), ofPlan)
    assert.deepEqual(await collect(registry, { plan, shard: 'a-shard-of-nobody' }), [])
  },

  'a taken id, slug or domain is a conflict and changes nothing': async registry => {
    const tenant = await registry.insert(someone())
    for (const taken of ['id', 'slug', 'domains'] as const) {
      const second = { ...someone(), [taken]: tenant[taken] }
      await conflict(registry.insert(second), `insert with a taken ${taken}`)
      if (taken !== 'id') assert.equal(await registry.findById(second.id), undefined)
    }
    assert.deepEqual(plain(await registry.findById(tenant.id)), plain(tenant))
  },

  'a slug or id that breaks its rule is a conflict': async registry => {
    for (const slug of ['', 'Acme', 'a.b', '123', 'xn--bcher-kva', "a'b"])
      await conflict(registry.insert({ ...someone(), slug }), `insert of slug '${slug}'`)
    for (const id of ['', 'a:b', 'a{b}', 'a b', 'a'.repeat(64)])
      await conflict(registry.insert({ ...someone(), id }), `insert of id '${id}'`)
  },

  'of two inserts of one slug at once, one wins': async registry => {
    const { slug } = someone()
    await oneWins([registry.insert({ ...someone(), slug }), registry.insert({ ...someone(), slug })])
  },

  'an update changes what it names and counts the version up': async registry => {
    const old = await registry.insert(someone())
    const { slug, domains } = someone()
    const updated = await registry.update(old.id, old.version, { slug, domains, plan: 'pro' })
    assertHas(updated, { id: old.id, slug, domains, plan: 'pro', name: old.name, version: old.version + 1 })
    assert.equal(updated.createdAt.getTime(), old.createdAt.getTime())
    assert.ok(updated.updatedAt.getTime() >= old.updatedAt.getTime())
    for (const found of await findEveryWay(registry, updated)) assert.deepEqual(plain(found), plain(updated))
    assert.equal(await registry.findBySlug(old.slug), undefined)
    assert.equal(await registry.findByDomain(old.domains[0] ?? ''), undefined)
  },

  'an update of a version that is not the newest is a conflict and changes nothing': async registry => {
    const first = await registry.insert(someone())
    const second = await registry.update(first.id, first.version, { plan: 'pro' })
    await conflict(registry.update(first.id, first.version, { plan: 'lost' }), 'update of an old version')
    assert.deepEqual(plain(await registry.findById(first.id)), plain(second))
  },

  'of two updates of one version at once, one wins': async registry => {
    const { id, version } = await registry.insert(someone())
    await oneWins([registry.update(id, version, { plan: 'a' }), registry.update(id, version, { plan: 'b' })])
  },

  'an update to a taken slug or domain is a conflict and changes nothing': async registry => {
    const [tenant, other] = [await registry.insert(someone()), await registry.insert(someone())]
    await conflict(
      registry.update(tenant.id, tenant.version, { slug: other.slug, plan: 'lost' }),
      'update to a taken slug'
    )
    await conflict(
      registry.update(tenant.id, tenant.version, { domains: other.domains, plan: 'lost' }),
      'update to a taken domain'
    )
    for (const found of await findEveryWay(registry, tenant)) assert.deepEqual(plain(found), plain(tenant))
    assert.equal((await registry.findBySlug(other.slug))?.id, other.id)
  },

  'an update of nobody says that the tenant is unknown': async registry => {
    await assert.rejects(registry.update(randomUUID(), 1, { plan: 'pro' }), {
      code: 'FST_TENANCY_TENANT_UNKNOWN'
    })
  },

  'a record cannot be changed, through itself or through what it was made from': async registry => {
    const settings = { theme: { dark: true } }
    const inserted = await registry.insert({ ...someone(), settings })
    settings.theme.dark = false
    for (const tenant of [inserted, ...await findEveryWay(registry, inserted)]) {
      assert.ok(tenant !== undefined && isFrozen(tenant), 'a record is frozen to its last property')
      assert.throws(() => tenant.createdAt.setTime(0), "a record's date refuses to be set")
      assert.deepEqual(tenant.settings, { theme: { dark: true } })
    }
  }
}

/** Returns a tenant that no other check or store has. */
function someone (): TenantInput & { domains: string[] } {
  const name = randomBytes(8).toString('hex')
  return { id: randomUUID(), slug: `t-${name}`, domains: [`${name}.example`] }
}

async function findEveryWay (
  registry: TenantRegistry,
  { id, slug, domains }: TenantRecord
): Promise<(TenantRecord | undefined)[]> {
  return Promise.all([registry.findById(id), registry.findBySlug(slug), ...domains.map(domain =>
    registry.findByDomain(domain)
  )])
}

async function collect (registry: TenantRegistry, filter?: TenantFilter): Promise<TenantRecord[]> {
  const tenants: TenantRecord[] = []
  for await (const tenant of registry.list(filter)) tenants.push(tenant)
  return tenants
}

function ids (tenants: readonly TenantRecord[]): string[] {
  return tenants.map(tenant => tenant.id)
}

function assertHas (tenant: TenantRecord, expected: Partial<TenantRecord>): void {
  for (const key of Object.keys(expected) as (keyof TenantRecord)[])
    assert.deepEqual(tenant[key], expected[key], `${key} of the record`)
}

async function conflict (write: Promise<unknown>, what: string): Promise<void> {
  await assert.rejects(
    write,
    { code: 'FST_TENANCY_TENANT_CONFLICT' },
    `${what} must be refused with FST_TENANCY_TENANT_CONFLICT`
  )
}

async function oneWins (writes: readonly Promise<unknown>[]): Promise<void> {
  const results = await Promise.allSettled(writes)
  assert.equal(results.filter(({ status }) => status === 'fulfilled').length, 1, 'exactly one write may win')
  for (const result of results)
    if (result.status === 'rejected') assert.equal(result.reason.code, 'FST_TENANCY_TENANT_CONFLICT')
}

async function failsInOutage (registry: TenantRegistry): Promise<void> {
  const { id, slug } = someone()
  const calls = [() => registry.findBySlug(slug), () => registry.findByDomain(`${slug}.example`),
    () => registry.findById(id), () => collect(registry), () => registry.insert({ id, slug }),
    () => registry.update(id, 1, {})]
  for (const call of calls) await assert.rejects(call, `${call.toString()} must reject in an outage`)
}

function isFrozen (value: unknown): boolean {
  return typeof value !== 'object' || value === null ||
    (Object.isFrozen(value) && Object.values(value).every(isFrozen))
}

// Converts dates to text, because deepEqual distinguishes the date classes of different registries.
function plain (tenant: TenantRecord | undefined): unknown {
  return tenant && JSON.parse(JSON.stringify(tenant))
}
