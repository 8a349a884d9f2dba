import { learn } from './identity.ts'
import type { LiveConnection } from './live.ts'
import { comparable, differences, describe, formFor, tablesInOrder, inspect, isSafe, settle, shownIn,
  requestVariants, type Run } from './run.ts'
import { isTime } from './reply.ts'
import type { Route } from './route-table.ts'
import type { Slot } from './schema.ts'
import { requestName, type Sent } from './sender.ts'

/** Common headers that name no tenant. */
const ordinary = new RegExp(
  `^(?:${
    ['host', 'content-', 'accept', 'authorization', 'cookie', 'user-agent', 'connection', 'upgrade',
      'transfer-encoding', 'expect', 'sec-', 'if-', 'range', 'origin', 'referer', 'traceparent', 'tracestate',
      'te$', 'priority', 'dnt', 'x-request-id', 'request-id', ':'].join('|')
  })`
)

/**
 * The first of the rows that the victim's own requests change and delete. Rows before it stay for
 * the attack.
 */
const lastRows = 62

/** Replies to a tenant's own requests, by route and variant. */
type Replies = Map<Route, Map<number, Map<string, string>[]>>

/**
 * Calls the safe routes as the attacker with its own values.
 *
 * @param times how often each is called, to find parts that change without another tenant
 */
export async function sweepAttacker (
  run: Run,
  times: number,
  options: { readonly isFirst?: boolean; readonly live?: LiveConnection[] } = {}
): Promise<Replies> {
  const replies: Replies = new Map()
  for (const route of run.routes.filter(each => isSafe(each) && !each.isWebsocket)) {
    for (const variant of requestVariants(route)) {
      for (let time = 0; time < times; time++) {
        const sent = await sendOwn(run, route, variant, options.isFirst === true && time === 0, options.live)
        if (sent === undefined || sent.live !== undefined || sent.reply.isLive) break
        keep(replies, route, variant, comparable(sent, run.attacker))
      }
    }
  }
  return replies
}

/** Calls the unsafe routes as the attacker with its own values. */
export async function changeAsAttacker (run: Run, live: LiveConnection[]): Promise<void> {
  for (const route of tablesInOrder(run.routes).filter(each => !isSafe(each)))
    for (const variant of requestVariants(route)) await sendOwn(run, route, variant, true, live)
}

/**
 * Calls a route as the attacker with its own values.
 *
 * @param isFirst whether to record which parts of the request the application reads
 */
export async function sendOwn (
  run: Run,
  route: Route,
  variant: number,
  isFirst: boolean,
  live: LiveConnection[] | undefined
): Promise<Sent | undefined> {
  const form = formFor(run, route, run.attacker, variant, run.routes.indexOf(route))
  const line = run.findings.of(requestName(route))
  if (typeof form === 'string') {
    line.problem = form
    return undefined
  }
  const sent = await run.sender.send(run.attacker, route, form.draft, {
    record: isFirst,
    keep: live !== undefined
  })
  inspect(run, route, sent)
  if (sent.live !== undefined) live?.push(sent.live)
  if (isFirst) discover(run, route, form.slots, sent)
  return sent
}

// Adds slots for parts of the request that the application read and no schema describes.
function discover (run: Run, route: Route, known: readonly Slot[], { probe }: Sent): void {
  const slots = run.found.get(route) ?? []
  const add = (part: Slot['in'], path: string[]): void => {
    const isKnown = (slot: Slot): boolean => slot.in === part && slot.path.join('.') === path.join('.')
    if (![...known, ...slots].some(isKnown)) slots.push({ in: part, path, kind: 'any', isFixed: false })
  }
  for (const name of probe.reads.query) add('query', [name.split('.')[0] ?? ''])
  for (const name of probe.reads.headers)
    if (!ordinary.test(name.toLowerCase())) add('headers', [name.toLowerCase()])
  for (const name of probe.reads.body)
    if (![...probe.reads.body].some(other => other.startsWith(`${name}.`))) add('body', name.split('.'))
  run.found.set(route, slots)
}

/**
 * Calls all routes as the victim, whose replies must not contain the attacker's values. @returns
 * whether they contain its own
 */
export async function sweepVictim (run: Run, isChanging: boolean): Promise<boolean> {
  const { victim, attacker, sender, findings } = run
  let showsOwn = false
  for (
    const route of tablesInOrder(run.routes).filter(each => isSafe(each) !== isChanging && !each.isWebsocket)
  ) {
    for (const variant of requestVariants(route)) {
      const form = formFor(
        run,
        route,
        victim,
        variant,
        isChanging ? lastRows + run.routes.indexOf(route) % 5 : 0
      )
      if (typeof form === 'string') continue
      const sent = await sender.send(victim, route, form.draft)
      const line = findings.of(sent.route)
      if (sent.probe.isHandled) line.reached++
      if (sent.reply.status === 401 || sent.reply.status === 403) line.note ||= String(sent.reply.status)
      if (shownIn(sent.reply, victim, sent.text).length > 0) showsOwn = true
      if (route.method === 'GET') collectTokens(run, route, sent)
      for (const what of shownIn(sent.reply, attacker, sent.text))
        findings.leak({
          where: sent.route,
          request: sent.request,
          what: `the victim was shown the attacker's ${what}`
        })
      countLeak(run, route, sent, 'victim')
    }
  }
  return showsOwn
}

// Collects values that clients send back unchanged: `{ "next": "eyJ…" }`, and every value in which
// the victim's own values are encoded.
function collectTokens (run: Run, route: Route, { reply }: Sent): void {
  const known = run.tokens.get(route.url) ?? new Set<string>()
  const encodes = (value: string): boolean =>
    value.length < 2_000 &&
    run.victim.secrets.find(value).some(shown => !value.toLowerCase().includes(shown.value))
  for (const [part, value] of comparable({ reply, probe: { ids: new Set() } }, run.attacker)) {
    const isNamed = /cursor|next|prev|token|after|before|page|signature/i.test(part)
    if (value.length >= 8 && (isNamed || encodes(value))) known.add(value)
  }
  run.tokens.set(route.url, known)
}

/**
 * Reports replies to the attacker that changed while only the victim was at work. A difference is
 * confirmed once: the victim works again, and the same part must change again.
 */
export async function compareSweeps (
  run: Run,
  before: Replies,
  work: (route: Route) => Promise<void>
): Promise<void> {
  for (const [route, variants] of before) {
    for (const [variant, quiet] of variants) {
      const sent = await sendOwn(run, route, variant, false, undefined)
      if (sent === undefined || sent.reply.isLive) continue
      countLeak(run, route, sent, 'attacker')
      const found = differences(quiet, comparable(sent, run.attacker), true)
      if (found.length === 0 || run.isOff(route)) continue
      const idleMs = found.some(({ now }) => isTime(now)) ? clockMs : 0
      const again = await repeat(run, route, variant, work, idleMs)
      const same = found.filter(({ part }) => again.has(part))
      if (same.length > 0) {
        run.findings.leak({
          where: sent.route,
          request: sent.request,
          what: `the reply depends on the victim's data: ${describe(same)}`
        })
      }
    }
  }
}

/** Milliseconds in which a clock in a reply moves on, also one that shows seconds. */
const clockMs = 1_100

/** Returns the parts that change in two runs when the victim works, and not with time alone. */
async function repeat (
  run: Run,
  route: Route,
  variant: number,
  work: (route: Route) => Promise<void>,
  idleMs = 0
): Promise<Set<string>> {
  // Parts that were not the same in all quiet replies, such as numbers that count requests.
  const moving: Set<string>[] = []
  const once = async (wait: () => Promise<void>): Promise<Set<string>> => {
    const quiet: Map<string, string>[] = []
    for (let time = 0; time < 3; time++) {
      const sent = await sendOwn(run, route, variant, false, undefined)
      if (sent !== undefined) quiet.push(comparable(sent, run.attacker))
    }
    const [start] = quiet
    moving.push(
      new Set(quiet.flatMap(parts => [...parts.keys()].filter(part => parts.get(part) !== start?.get(part))))
    )
    await wait()
    const sent = await sendOwn(run, route, variant, false, undefined)
    const found = sent === undefined ? [] : differences(quiet, comparable(sent, run.attacker), true)
    if (found.some(({ now }) => isTime(now))) idleMs = clockMs
    return new Set(found.map(({ part }) => part))
  }
  // A time in seconds shows no change within the same second.
  const workLater = async (): Promise<void> => {
    await settle(idleMs)
    await work(route)
  }
  const began = performance.now()
  const first = await once(workLater)
  if (first.size === 0) return first
  const took = performance.now() - began
  const idle = await once(() => settle(Math.max(took, idleMs)))
  const second = await once(workLater)
  // A clock may also tick among the quiet replies of the idle time.
  const hasTicked = (part: string): boolean => moving[1]?.has(part) === true && !moving[0]?.has(part)
  return new Set([...first].filter(part => second.has(part) && !idle.has(part) && !hasTicked(part)))
}

/**
 * Makes both tenants call each route concurrently, because a global variable may hold the wrong
 * tenant.
 */
export async function callTogether (run: Run): Promise<void> {
  const { attacker, victim, sender, findings } = run
  for (const route of run.routes.filter(each => !each.isWebsocket && each.method !== 'DELETE')) {
    const calls = [attacker, victim, attacker, victim, attacker, victim].flatMap(who => {
      const form = formFor(run, route, who, 0, who === victim ? lastRows : run.routes.indexOf(route))
      return typeof form === 'string'
        ? []
        : [sender.send(who, route, form.draft).then(sent => ({ who, sent }))]
    })
    for (const { who, sent } of await Promise.all(calls)) {
      const other = who === attacker ? victim : attacker
      if (who === attacker) inspect(run, route, sent)
      else
        for (const what of shownIn(sent.reply, other, sent.text))
          findings.leak({
            where: sent.route,
            request: sent.request,
            what: `the victim was shown the attacker's ${what}`
          })
    }
  }
}

/** Calls one route twice as the victim. */
export async function callAsVictim (run: Run, route: Route): Promise<void> {
  for (let time = 0; time < 2; time++) {
    const form = formFor(run, route, run.victim, 0, 0)
    if (typeof form !== 'string') await run.sender.send(run.victim, route, form.draft)
  }
}

/**
 * Reports numbers that jump, such as ids of a sequence shared by all tenants. The attacker creates
 * three rows, the victim some, and the attacker one more.
 */
export async function watchSteps (run: Run): Promise<void> {
  for (const route of run.routes.filter(each => each.method === 'POST' && !run.isOff(each))) {
    // An earlier route may have deleted the rows that this route needs, so read them again.
    await run.attacker.rows.read()
    await run.victim.rows.read()
    const work = async (): Promise<void> => {
      for (let time = 0; time < 2; time++) {
        const form = formFor(run, route, run.victim, 0, lastRows)
        if (typeof form !== 'string') await run.sender.send(run.victim, route, form.draft)
      }
      // So that the newest row of all tenants is a full one of the victim.
      await run.victim.rows.plant(1)
      await learn(run.attacker, run.victim)
    }
    const [part] = await repeat(run, route, 0, work)
    if (part !== undefined) {
      run.findings.leak({
        where: requestName(route),
        request: `${requestName(route)}, before and after the victim did the same`,
        what: `the reply tells what the victim did: ${part} left its steps`
      })
    }
  }
}

// Reports a count of the other tenant's rows. The numbers of planted rows are unusual, so such a
// count is recognizable.
function countLeak (run: Run, route: Route, sent: Sent, role: 'attacker' | 'victim'): void {
  const [own, other] = role === 'attacker' ? [run.attacker, run.victim] : [run.victim, run.attacker]
  for (const [part, value] of comparable(sent, own)) {
    if (!/^\d{2,6}$/.test(value) || !part.startsWith('body') || part.endsWith('.length')) continue
    for (const { name } of run.tables) {
      const [mine, theirs] = [own.rows.of(name).length, other.rows.of(name).length]
      if (mine === theirs || theirs < 20) continue
      const isTheirs = Number(value) === theirs || Number(value) === theirs + mine
      const isSeveral = run.tables.some(table => own.rows.of(table.name).length === Number(value))
      if (isTheirs && !isSeveral)
        run.findings.leak({
          where: requestName(route),
          request: sent.request,
          what: `${part} counts rows of the other tenant: ${value} of ${name}`
        })
    }
  }
}

function keep (replies: Replies, route: Route, variant: number, parts: Map<string, string>): void {
  const variants = replies.get(route) ?? new Map<number, Map<string, string>[]>()
  variants.set(variant, [...variants.get(variant) ?? [], parts])
  replies.set(route, variants)
}

export { settle }
