import { TenantUnknownError, tenantStatuses, type TenantRecord } from '@fastify-tenancy/core'
import type { AuditEntry } from '@fastify-tenancy/manager'
import type { FastifyInstance, RouteShorthandOptions } from 'fastify'

import { isAction } from '../data/actions.ts'
import type { ConsoleState } from './console-state.ts'
import { doctorPage } from '../pages/doctor.ts'
import { fleet, fleetPage } from '../pages/fleet.ts'
import { tenantPage, usage } from '../pages/tenant.ts'
import { tenantsPage } from '../pages/tenants.ts'

/** The console belongs to no tenant. */
export const off: RouteShorthandOptions = { config: { tenancy: 'off' } } as RouteShorthandOptions

type Query = Readonly<Record<string, unknown>>

/** Entries of the audit on the page of a tenant, and how far back they are looked for. */
const entries = 20
const since = '90d'

/**
 * An age in milliseconds below which the doctor is not run again, however often a page asks for it.
 */
const doctorRestMs = 5_000

/** The pages that change nothing. */
export function showPages (app: FastifyInstance, shared: ConsoleState): void {
  const { base, manager, samples } = shared

  app.get<{ Querystring: Query }>('/', off, async (request, reply) => {
    const { query } = request
    const [text, slug, id] = [word(query.q), word(query.slug), word(query.id)]
    const status = tenantStatuses.find(each => each === query.status)
    const after = slug !== '' && id !== '' ? { slug, id } : undefined
    const [found, unfinished, migrations] = await Promise.all([
      manager.search({ ...(text !== '' && { text }), ...(status && { status }), ...(after && { after }) }),
      manager.unfinished(),
      shared.migrations.get()
    ])
    const view = {
      base,
      text,
      status: status ?? '',
      isFirst: after === undefined,
      found,
      unfinished,
      migrations
    }
    return shared.send(request, reply, { title: 'Tenants', section: 'Tenants', main: tenantsPage(view) })
  })

  app.get<{ Params: { id: string }; Querystring: Query }>('/tenants/:id', off, async (request, reply) => {
    const tenant = await find(shared, request.params.id)
    const done = word(request.query.done)
    const [audit, unfinished, migrations] = await Promise.all([
      recentAudit(shared, tenant),
      manager.unfinished(),
      shared.migrations.get()
    ])
    const main = tenantPage({
      ...used(shared, tenant),
      base,
      tenant,
      audit,
      migrations,
      work: unfinished.find(work => work.tenant === tenant.id),
      done: isAction(done) ? done : undefined
    })
    return shared.send(request, reply, { title: tenant.slug, section: 'Tenants', main })
  })

  app.get<{ Params: { id: string } }>(
    '/tenants/:id/live',
    off,
    async (request, reply) =>
      shared.sendHtml(reply, usage(used(shared, await find(shared, request.params.id))))
  )

  app.get('/fleet', off, async (request, reply) =>
    shared.send(request, reply, {
      title: 'Fleet',
      section: 'Fleet',
      main: fleetPage({ base, samples, health: shared.app.tenancy.health() })
    }))

  app.get(
    '/fleet/live',
    off,
    async (_request, reply) =>
      shared.sendHtml(reply, fleet({ base, samples, health: shared.app.tenancy.health() }))
  )

  app.get<{ Querystring: Query }>('/doctor', off, async (request, reply) => {
    const isAsked = request.query.again !== undefined
    const known = await shared.doctor.get(isAsked ? doctorRestMs : undefined)
    // The report is there now: a reload of this page shall not examine again.
    if (isAsked) return reply.redirect(`${base}/doctor`, 303)
    return shared.send(request, reply, { title: 'Doctor', section: 'Doctor', main: doctorPage(base, known) })
  })

  app.get('/*', off, async () => {
    throw Object.assign(new Error('no such page'), { statusCode: 404 })
  })
}

/** @throws FST_TENANCY_TENANT_UNKNOWN */
export async function find ({ manager }: ConsoleState, id: string): Promise<TenantRecord> {
  const tenant = await manager.get({ id })
  if (tenant === undefined) throw new TenantUnknownError()
  return tenant
}

function used (
  { app, samples }: ConsoleState,
  tenant: TenantRecord
): Pick<Parameters<typeof tenantPage>[0], 'limits' | 'points'> {
  return { limits: app.tenantRateLimit?.limitsFor(tenant), points: samples.usage?.of(tenant.id) }
}

async function recentAudit ({ manager }: ConsoleState, { id }: TenantRecord): Promise<readonly AuditEntry[]> {
  const newest: AuditEntry[] = []
  for await (const entry of manager.audit({ tenant: { id }, since })) {
    newest.unshift(entry)
    newest.length = Math.min(newest.length, entries)
  }
  return newest
}

// What is given twice, or holds what PostgreSQL has no text for, is taken for absent.
function word (value: unknown): string {
  return typeof value === 'string' && value.length <= 253 && !value.includes('\0') ? value.trim() : ''
}
