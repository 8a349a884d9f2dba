import { candidatesFor, valueShape, twinsOf, wideningFor, type Candidate } from './candidates.ts'
import { changeBetween } from './rows.ts'
import { comparable, describe, differences, formFor, tablesInOrder, inspect, isSafe, settle, requestVariants,
  type Run } from './run.ts'
import { replaced, valueIn, type Draft } from './request.ts'
import type { Route } from './route-table.ts'
import type { Slot } from './schema.ts'
import { forge, requestName, type Sent } from './sender.ts'

/** Number of candidates that are tried on each further form of a route. */
const fewCandidates = 8

/** Calls every route as the attacker with the victim's values in every slot. */
export async function attackRoutes (run: Run): Promise<void> {
  const routes = tablesInOrder(run.routes).filter(each => !each.isWebsocket)
  // Safe routes seldom change rows. So they are tested one by one only after a run over all of them
  // changed a row.
  if (await changesRows(run, routes.filter(isSafe)) !== undefined) {
    for (const route of routes.filter(isSafe)) await reportChange(run, route)
  }
  for (const route of routes.filter(each => !isSafe(each))) await reportChange(run, route)
}

/**
 * Repeats each attack whose reply differed, with a value that the victim has only now, and reports
 * those that differ again.
 */
export async function confirmSuspicions ({ suspicions }: Run): Promise<void> {
  for (const confirm of suspicions) await confirm()
}

async function reportChange (run: Run, route: Route): Promise<void> {
  const change = await changesRows(run, [route])
  if (change !== undefined)
    run.findings.leak({
      where: requestName(route),
      request: `${requestName(route)} as the attacker`,
      what: change
    })
}

/** Attacks routes. @returns how a row of the victim changed, or undefined */
async function changesRows (run: Run, routes: readonly Route[]): Promise<string | undefined> {
  const before = await run.victim.rows.picture()
  for (const route of routes)
    for (const variant of requestVariants(route)) await new RouteAttack(run, route, variant).run()
  const change = changeBetween(before, await run.victim.rows.picture(), run.victim.rows.planted)
  return change && `a row of the victim in ${change.table} changed: ${change.what.slice(0, 300)}`
}

class RouteAttack {
  readonly #run: Run
  readonly #route: Route
  readonly #variant: number
  /**
   * Number of the victim's rows to use. It changes with each route, so that no value is sent twice.
   */
  #row: number

  constructor (run: Run, route: Route, variant: number) {
    this.#run = run
    this.#route = route
    this.#variant = variant
    this.#row = 1 + run.routes.indexOf(route) % 30
  }

  async run (): Promise<void> {
    const own = this.#draft('own')
    if (own === undefined) return
    const theirs = this.#draft('theirs')
    if (theirs !== undefined) {
      await this.#send(theirs)
      await this.#lookAround()
    }
    if (this.#isTwin()) return
    for (const slot of this.#slots()) await this.#attackSlot(slot)
    for (const headers of this.#forgedHeaders()) {
      await this.#send({ ...own, headers: { ...own.headers, ...headers } })
      if (theirs !== undefined) await this.#send({ ...theirs, headers: { ...theirs.headers, ...headers } })
    }
    for (const value of [this.#run.victim.tenant.id, this.#run.victim.tenant.slug]) {
      const forged = Object.fromEntries(tenantNames.map(name => [name, value]))
      await this.#send({ ...own, query: { ...forged, ...own.query } })
      if (own.hasBody && typeof own.body === 'object' && own.body !== null && !Array.isArray(own.body))
        await this.#send({ ...own, body: { ...forged, ...own.body } })
    }
    if (isSafe(this.#route)) await this.#askConditionally(own)
    else await this.#sendMany()
  }

  /** Whether this is the HEAD of a GET route, which has the same handler. */
  #isTwin (): boolean {
    const { method, url } = this.#route
    return method === 'HEAD' && this.#run.routes.some(other => other.method === 'GET' && other.url === url)
  }

  /**
   * Checks routes with the same first path segment, which may show later effects of a request, such
   * as the result of a job.
   */
  async #lookAround (): Promise<void> {
    if (isSafe(this.#route)) return
    await settle(20)
    const beside = this.#run.routes.filter(({ method, url, isWebsocket }) =>
      method === 'GET' && !isWebsocket && firstStep(url) === firstStep(this.#route.url)
    )
    for (const route of beside) {
      const form = formFor(this.#run, route, this.#run.attacker, 0, this.#run.routes.indexOf(route))
      if (typeof form === 'string') continue
      inspect(this.#run, route, await this.#run.sender.send(this.#run.attacker, route, form.draft))
    }
  }

  /** Returns a request with the values of one tenant in all slots. */
  #draft (of: 'own' | 'theirs'): Draft | undefined {
    const { attacker, victim } = this.#run
    // Use the attacker's own texts, so that an echo is not reported as a leak.
    const who = of === 'own' ? attacker : { ...victim, text: attacker.text }
    const form = formFor(
      this.#run,
      this.#route,
      who,
      this.#variant,
      of === 'own' ? this.#run.routes.indexOf(this.#route) : this.#row
    )
    return typeof form === 'string' ? undefined : form.draft
  }

  #slots (): Slot[] {
    const form = formFor(this.#run, this.#route, this.#run.attacker, this.#variant, 0)
    const known = typeof form === 'string' ? [] : form.slots
    const all = [...known, ...this.#run.found.get(this.#route) ?? []]
    // Without authentication the address alone names the tenant, so a changed address is a request
    // of the other tenant and no attack.
    return this.#run.sender.hasAuthentication ? all : all.filter(slot => !this.#isAddress(slot))
  }

  /** Whether the suite reads this slot to find the tenant. */
  #isAddress ({ in: part, path: [name] }: Slot): boolean {
    const { params, headers } = this.#run.app.tenantResolver.addressOf(this.#run.attacker.tenant)
    return (part === 'params' && String(name) in (params ?? {})) ||
      (part === 'headers' && String(name) in (headers ?? {}))
  }

  async #attackSlot (slot: Slot): Promise<void> {
    const { victim, tables } = this.#run
    const twins = new Map<string, Promise<Map<string, string>[]>>()
    const all = candidatesFor(this.#route, slot, victim, tables, this.#row)
    for (const candidate of this.#variant === 0 ? all : all.slice(0, fewCandidates)) {
      const shape = valueShape(candidate.value)
      const quiet =
        await (twins.get(shape) ?? twins.set(shape, this.#askTwins(slot, candidate.value)).get(shape))
      const sent = await this.#sendWith(slot, candidate.value)
      if (candidate === all[0]) await this.#lookAround()
      // A slot of the tenant's address reveals anyway whether a tenant of this name exists.
      if (sent === undefined || quiet === undefined || this.#isAddress(slot)) continue
      const found = differences(quiet, comparable(sent, this.#run.attacker, [candidate.value]))
      const parts = found.map(({ part }) => part)
      if (parts.length > 0 && !this.#run.isOff(this.#route))
        this.#run.suspicions.push(() => this.#confirm(slot, candidate, parts))
    }
    if (this.#variant === 0) {
      const tokens = [...this.#run.tokens.get(this.#route.url) ?? []].slice(0, fewCandidates)
      const isText = slot.in === 'query' && slot.kind !== 'other'
      for (const value of [...wideningFor(slot), ...isText ? tokens : []]) await this.#sendWith(slot, value)
    }
    // Combine the attacker's own parent with the victim's child, and vice versa.
    const base = this.#draft('theirs')
    if (base !== undefined && this.#slots().filter(({ in: part }) => part !== 'headers').length > 1) {
      const own = valueIn(this.#draft('own') ?? base, slot)
      if (own !== undefined) await this.#send(replaced(base, slot, own))
    }
  }

  /** Returns replies to values that no tenant has. */
  async #askTwins (slot: Slot, value: unknown): Promise<Map<string, string>[]> {
    const both = await Promise.all(
      twinsOf(value).map(async twin => {
        const sent = await this.#sendWith(slot, twin)
        return sent === undefined ? [] : [comparable(sent, this.#run.attacker, [twin])]
      })
    )
    return both.flat()
  }

  /**
   * Repeats the test with a value that the victim has only now, so that no earlier request of the
   * attacker can explain the difference.
   */
  async #confirm (slot: Slot, candidate: Candidate, parts: readonly string[]): Promise<void> {
    const value = await this.#freshValue(candidate)
    if (value === undefined) return
    const quiet = await this.#askTwins(slot, value)
    const sent = await this.#sendWith(slot, value)
    if (sent === undefined) return
    const again = differences(quiet, comparable(sent, this.#run.attacker, [value])).filter(({ part }) =>
      parts.includes(part)
    )
    if (again.length > 0) {
      this.#run.findings.leak({
        where: sent.route,
        request: sent.request,
        what: `the reply tells that the victim has ${candidate.of} ${String(value)}: ${describe(again)}`
      })
    }
  }

  async #freshValue ({ table, column, value }: Candidate): Promise<unknown> {
    const { rows, secrets } = this.#run.victim
    if (table === undefined || column === undefined) return value
    const known = new Set(rows.of(table).map(row => String(row[column])))
    await rows.plant(1)
    const fresh = rows.of(table).find(row => !known.has(String(row[column])))?.[column]
    for (const [name, all] of Object.entries(rows.all()))
      for (const row of all.slice(0, 1)) secrets.add(name, row)
    // The kit cannot write to this table, so use an existing row. Each row is used for one test.
    return fresh ?? rows.of(table).at(-1)?.[column]
  }

  async #sendWith (slot: Slot, value: unknown): Promise<Sent | undefined> {
    const draft = this.#draft('own')
    if (draft === undefined) return undefined
    const next = replaced(draft, slot, value)
    const name = String(slot.path[0])
    return this.#send(slot.in === 'params' ? forge(next, name) : next)
  }

  async #send (draft: Draft): Promise<Sent> {
    const sent = await this.#run.sender.send(this.#run.attacker, this.#route, draft)
    inspect(this.#run, this.#route, sent)
    return sent
  }

  /** Returns headers by which applications and proxies name tenants, hosts and methods. */
  #forgedHeaders (): Record<string, string>[] {
    const { victim, sender, app, attacker } = this.#run
    const address = app.tenantResolver.addressOf(attacker.tenant)
    const { host } = app.tenantResolver.addressOf(victim.tenant)
    const free = (headers: Record<string, string>): Record<string, string> =>
      Object.fromEntries(
        Object.entries(headers).filter(([name]) =>
          sender.hasAuthentication || !(name in (address.headers ?? {}))
        )
      )
    const rows = Object.values(victim.rows.at(this.#row)).map(row => row['id']).filter(id => id !== undefined)
    return [victim.tenant.id, victim.tenant.slug].map(value =>
      free({
        ...Object.fromEntries(headerNames.map(name => [name, value])),
        ...(host !== undefined &&
          { 'x-forwarded-host': host, 'x-original-host': host, forwarded: `host=${host}` }),
        ...(sender.hasAuthentication
          ? {}
          : { cookie: `tenant=${value}; tenant_id=${value}; tenantId=${value}` }),
        'x-http-method-override': 'DELETE',
        'x-method-override': 'DELETE',
        ...(rows[0] !== undefined && { 'x-resource-id': String(rows[0]) })
      })
    )
  }

  /** Sends the victim's ETag. A 304 would reveal that the victim has the same reply. */
  async #askConditionally (own: Draft): Promise<void> {
    const { sender, victim } = this.#run
    const theirs = formFor(this.#run, this.#route, victim, this.#variant, 0)
    if (typeof theirs === 'string') return
    const { reply } = await sender.send(victim, this.#route, theirs.draft)
    const { etag } = reply.headers
    if (etag === undefined) return
    const sent = await this.#send({ ...own, headers: { ...own.headers, 'if-none-match': etag } })
    const plain = await this.#send(own)
    if (sent.reply.status === 304 && plain.reply.headers['etag'] !== etag) {
      this.#run.findings.leak({
        where: sent.route,
        request: sent.request,
        what: `304 for the victim's etag ${etag}: the attacker learns what the victim has`
      })
    }
  }

  /** Fills each list of the body with all keys of the victim, for routes with bulk operations. */
  async #sendMany (): Promise<void> {
    const draft = this.#draft('own')
    if (draft === undefined || typeof draft.body !== 'object' || draft.body === null) return
    const { victim, tables } = this.#run
    for (const slot of this.#slots()) {
      const last = slot.path.at(-1)
      if (slot.in !== 'body' || typeof last !== 'number') continue
      const values = candidatesFor(this.#route, slot, victim, tables, this.#row).map(({ value }) => value)
      await this.#send(replaced(draft, { in: 'body', path: slot.path.slice(0, -1) }, values))
    }
  }
}

/** `/projects/:id` → `projects` */
function firstStep (url: string): string {
  return url.split('/')[1] ?? ''
}

const tenantNames = ['tenant', 'tenantId', 'tenant_id', 'tenantSlug', 'org', 'orgId', 'org_id',
  'organization', 'organizationId', 'organization_id', 'workspace', 'workspaceId', 'account', 'accountId',
  'account_id', 'customer', 'customerId', 'slug', 'impersonate']
const headerNames = ['x-tenant', 'x-tenant-id', 'x-tenant-slug', 'x-tenant-name', 'tenant', 'tenant-id',
  'x-org', 'x-org-id', 'x-organization', 'x-organization-id', 'x-workspace', 'x-workspace-id', 'x-account',
  'x-account-id', 'x-customer', 'x-customer-id', 'x-client-id', 'x-user', 'x-user-id', 'x-impersonate',
  'x-realm', 'x-site', 'x-namespace', 'x-project', 'x-project-id']
