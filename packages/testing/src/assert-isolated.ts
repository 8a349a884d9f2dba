import { AssertionError } from 'node:assert'

import type { TenantRef } from '@fastify-tenancy/core'
import type { FastifyInstance } from 'fastify'

import type { Authenticate } from './isolation/addressed.ts'
import { applicationOf, tenantOf } from './isolation/application.ts'
import { attackCache } from './isolation/attack-cache.ts'
import { attackRoutes, confirmSuspicions } from './isolation/attack-routes.ts'
import { attackTables } from './isolation/attack-tables.ts'
import { readKitTables } from './isolation/catalog.ts'
import { Findings } from './isolation/findings.ts'
import { identityOf, learn } from './isolation/identity.ts'
import type { LiveConnection } from './isolation/live.ts'
import { reportOf, type IsolationReport } from './isolation/report.ts'
import type { RouteExample } from './isolation/request.ts'
import { wiringOf, type Route } from './isolation/route-table.ts'
import { changeBetween, type RowExample } from './isolation/rows.ts'
import { settle, type Run } from './isolation/run.ts'
import { askTheSame } from './isolation/same-request.ts'
import { proveItself } from './isolation/self-proof.ts'
import { requestName, Sender } from './isolation/sender.ts'
import { attackSockets, openSockets, reportLive } from './isolation/sockets.ts'
import { callAsVictim, callTogether, changeAsAttacker, compareSweeps, sweepAttacker, sweepVictim,
  watchSteps } from './isolation/sweep.ts'
import { compareVictim, victimReplies } from './isolation/victim-replies.ts'
import { Witness } from './isolation/witness.ts'

/** Options of {@link assertIsolated}. */
export interface IsolationOptions {
  /**
   * The tenant whose values must not be seen. The kit writes rows for both tenants, so use tenants
   * of a test.
   */
  readonly victim: TenantRef
  /** The tenant that looks for the victim's values. */
  readonly attacker: TenantRef
  /**
   * The tables to test: names, or a map of names to values for new rows if the kit cannot create a
   * row itself.
   * @default the tenant tables of the suite's options
   */
  readonly tables?: readonly string[] | Readonly<Record<string, RowExample>>
  /** Values for routes without a schema, by `'POST /projects'`. @default {} */
  readonly routes?: Readonly<Record<string, RouteExample>>
  /** Returns the headers that authenticate a request. @default only the tenant's address is sent */
  readonly authenticate?: Authenticate
}

/** Number of rows that each tenant gets in each table. These numbers seldom occur otherwise. */
const [attackerRows, victimRows] = [41, 67]

/**
 * Tests the isolation of an application. Calls every route as the attacker with the victim's
 * values, and tries every table through the handle that requests have. Checks replies, headers,
 * logs, outgoing requests, cached values and rows.
 *
 * @returns a report of all tests. Print it: `console.log(String(report))`
 * @throws AssertionError that names route, request and leaked value, and everything that could not
 * be tested
 */
export async function assertIsolated (
  app: FastifyInstance,
  options: IsolationOptions
): Promise<IsolationReport> {
  const { report, isFine } = await examine(app, options)
  if (isFine) return report
  throw Object.assign(
    new AssertionError({
      message: `the application does not isolate its tenants, or was not tested completely: ${
        String(report)
      }`,
      operator: 'assertIsolated',
      stackStartFn: assertIsolated
    }),
    { report }
  )
}

async function examine (
  input: FastifyInstance,
  { victim, attacker, tables: wanted, routes: examples = {}, authenticate }: IsolationOptions
): Promise<{ report: IsolationReport; isFine: boolean }> {
  const app = await applicationOf(input)
  // Unmatched URLs are tested too, because the application answers them.
  const routes = [...wiringOf(input).routes, unmatched(input)]
  const [victims, attackers] = [await tenantOf(app, victim, 'victim'),
    await tenantOf(app, attacker, 'attacker')]
  if (victims.id === attackers.id)
    throw new TypeError('options.victim and options.attacker must be two tenants')
  const unknown = Object.keys(examples).find(name => !routes.some(route => requestName(route) === name))
  if (unknown !== undefined)
    throw new TypeError(`options.routes names ${unknown}, and the application has no such route`)
  const names = wanted === undefined || Array.isArray(wanted)
    ? wanted as readonly string[] | undefined
    : Object.keys(wanted)
  const rowExamples = (wanted === undefined || Array.isArray(wanted) ? {} : wanted) as Record<
    string,
    RowExample
  >
  const tables = await readKitTables(app, victims, names)
  const theirs = identityOf(app, 'victim', victims, tables, rowExamples)
  const run: Run = {
    app,
    tables,
    attacker: identityOf(app, 'attacker', attackers, tables, rowExamples, theirs.secrets),
    victim: theirs,
    sender: new Sender(app, authenticate),
    findings: new Findings(),
    routes,
    examples,
    found: new Map(),
    tokens: new Map(),
    suspicions: [],
    isOff: route => route.isOff
  }
  const open: LiveConnection[] = []
  const witness = new Witness(run)
  try {
    const proved = await walk(run, witness, open)
    judge(run)
    const report = reportOf(run.findings, proved)
    return { report, isFine: report.leaks.length === 0 && report.notTried.length === 0 }
  } finally {
    witness.stop()
    run.sender.stop()
    for (const live of open) live.close()
  }
}

async function walk (run: Run, witness: Witness, open: LiveConnection[]): Promise<string[]> {
  const { attacker, victim, findings, tables } = run
  for (const route of run.routes) findings.of(requestName(route))
  const as = async <T>(who: typeof attacker | undefined, work: () => Promise<T>): Promise<T> => {
    witness.worker = who
    const result = await work()
    await settle(30)
    witness.worker = undefined
    return result
  }

  // Phase 1: the attacker alone, before the victim has rows of the kit.
  await attacker.rows.plant(attackerRows)
  await learn(attacker, victim)
  open.push(...await as(attacker, () => openSockets(run, attacker)))
  const alone = await as(attacker, () => sweepAttacker(run, 3, { isFirst: true, live: open }))

  // Phase 2: the victim fills its tables and caches, while the open connections must stay silent.
  const problems = await victim.rows.plant(victimRows)
  await learn(attacker, victim)
  const proved = await proveItself(run)
  await learn(attacker, victim)
  const theirs = await as(victim, () => openSockets(run, victim))
  open.push(...theirs)
  const showsReads = await as(victim, () => sweepVictim(run, false))
  const showsWrites = await as(victim, () => sweepVictim(run, true))
  if (!showsReads && !showsWrites)
    findings.of('routes').problem =
      'no route showed the victim a value of its own, so a leak would not be seen: seed rows ' +
      'that a route shows, or set authenticate'
  else proved.push('routes')
  reportLive(run, open.filter(live => !theirs.includes(live)), attacker)
  await learn(attacker, victim)
  await as(attacker, () =>
    compareSweeps(run, alone, async route => {
      await callAsVictim(run, route)
      await victim.rows.plant(3)
      await sweepVictim(run, true)
      await learn(attacker, victim)
    }))

  await as(undefined, () => callTogether(run))
  await as(undefined, () => askTheSame(run))
  await learn(attacker, victim)

  // Phase 3: the attack. The attacker's own changes come first, so that later checks do not report
  // them.
  const calm = await as(victim, () => victimReplies(run))
  const before = await victim.rows.picture()
  await as(attacker, () => changeAsAttacker(run, open))
  const change = changeBetween(before, await victim.rows.picture())
  if (change !== undefined)
    findings.leak({
      where: 'routes',
      request: "the attacker's own changes",
      what: `a row of the victim in ${change.table} changed: ${change.what.slice(0, 300)}`
    })
  await attacker.rows.plant(5)
  await learn(attacker, victim)
  await as(attacker, () => attackRoutes(run))
  await as(attacker, () => attackSockets(run, open.filter(live => live.isSocket && !theirs.includes(live))))
  await attackHandles(run, problems)
  // Before the suspicions, because their confirmation writes rows of the victim.
  if (findings.leaks.length === 0) await as(victim, () => compareVictim(run, calm))
  await as(attacker, () => confirmSuspicions(run))
  if (tables.length > 0) await as(attacker, async () => watchSteps(run))

  // Phase 4: check what jobs, caches and the process kept from the attack.
  await learn(attacker, victim)
  await as(attacker, () => sweepAttacker(run, 1))
  reportLive(run, open.filter(live => !theirs.includes(live)), attacker)
  await as(victim, () => sweepVictim(run, false))
  reportLive(run, theirs, victim)
  return proved
}

async function attackHandles (run: Run, problems: ReadonlyMap<string, string>): Promise<void> {
  const { app, tables, attacker, victim, findings } = run
  const before = await victim.rows.picture()
  await attackTables({
    app,
    tables,
    attacker: attacker.tenant,
    own: attacker.rows,
    victim: victim.tenant,
    target: victim.rows,
    secrets: victim.secrets,
    findings
  })
  const change = changeBetween(before, await victim.rows.picture())
  if (change !== undefined)
    findings.leak({
      where: `table ${change.table}`,
      request: 'a statement of the attacker',
      what: `a row of the victim changed: ${change.what.slice(0, 300)}`
    })
  for (const [table, problem] of problems) {
    const line = findings.of(`table ${table}`)
    if (line.problem !== undefined) line.problem += `; the kit could not write one: ${problem}`
  }
  await attackCache(app, attacker.tenant, victim.tenant, victim.text(), findings)
}

const unmatchedUrl = '/a-route-that-does-not-exist/:id'

function unmatched (instance: FastifyInstance): Route {
  return {
    method: 'GET',
    url: unmatchedUrl,
    schema: {},
    isWebsocket: false,
    isOff: false,
    constraints: {},
    instance
  }
}

/** Marks the routes whose handler never ran, or did not run each time. */
function judge ({ routes, findings }: Run): void {
  for (const route of routes) {
    const line = findings.of(requestName(route))
    if (line.problem !== undefined || route.url === unmatchedUrl) continue
    if (/\b429\b/.test(line.note))
      line.problem = "the application limited the kit's requests: register it without rateLimit in this test"
    else if (line.reached === 0)
      line.problem = `its handler was never reached, the answers were ${
        line.note || 'none'
      }: give authenticate, or values in options.routes`
  }
}
