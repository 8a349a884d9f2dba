import type { Application } from './application.ts'
import { ownValue } from './candidates.ts'
import type { Table } from './catalog.ts'
import type { Findings } from './findings.ts'
import type { Identity } from './identity.ts'
import { differences, partsOf, type Difference, type CapturedReply } from './reply.ts'
import { formOf, formsOf, replaced, type Form, type RouteExample } from './request.ts'
import type { Route } from './route-table.ts'
import type { Slot } from './schema.ts'
import { requestName, type Sender, type Sent } from './sender.ts'

/** The data that all phases of one run share. */
export interface Run {
  readonly app: Application
  readonly tables: readonly Table[]
  readonly attacker: Identity
  readonly victim: Identity
  readonly sender: Sender
  readonly findings: Findings
  readonly routes: readonly Route[]
  readonly examples: Readonly<Record<string, RouteExample>>
  /** Slots that a route reads and no schema describes. */
  readonly found: Map<Route, Slot[]>
  /**
   * Texts of the victim's own replies, by route: cursors and tokens, which may contain the tenant.
   */
  readonly tokens: Map<string, Set<string>>
  /** Attacks whose reply differed, to be repeated once the victim's replies were compared. */
  readonly suspicions: (() => Promise<void>)[]
  /**
   * Whether the replies of a route are only searched for the victim's values, because the route has
   * no tenant.
   */
  readonly isOff: (route: Route) => boolean
}

const safe = new Set(['GET', 'HEAD', 'OPTIONS', 'TRACE'])

/** Whether the route's method is safe by the HTTP standard. */
export function isSafe ({ method }: Route): boolean {
  return safe.has(method)
}

/**
 * Returns routes in an order in which they destroy as little as possible of what later routes need.
 */
export function tablesInOrder (routes: readonly Route[]): Route[] {
  return routes.toSorted((a, b) => rankOf(a) - rankOf(b))
}

function rankOf ({ method }: Route): number {
  return safe.has(method) ? 0 : method === 'DELETE' ? 2 : 1
}

/**
 * Returns the variants with which a route is called in each phase: one for each value of its enums.
 */
export function requestVariants (route: Route): number[] {
  return Array.from({ length: formsOf(route) }, (_, at) => at)
}

/**
 * Returns a tenant's request to a route, with its own values. @returns the reason as text if the
 * route cannot be called
 */
export function formFor (
  { examples, tables }: Run,
  route: Route,
  who: Identity,
  variant: number,
  n: number
): Form | string {
  const form = formOf(route, examples[requestName(route)] ?? {}, who.rows.at(n), who.text, variant)
  if (typeof form === 'string') return form
  const isExample = (slot: Slot): boolean => slot.in in (examples[requestName(route)] ?? {})
  const draft = form.slots.reduce((all, slot) => {
    const value = isExample(slot) ? undefined : ownValue(route, slot, who, tables, n)
    return value === undefined ? all : replaced(all, slot, value)
  }, form.draft)
  return { draft, slots: form.slots }
}

/**
 * Counts a request of the attacker, and searches its reply for the victim's values. @returns
 * whether it has any
 */
export function inspect ({ findings, victim, attacker, isOff }: Run, route: Route, sent: Sent): boolean {
  const line = findings.of(sent.route)
  line.requests++
  if (sent.probe.isHandled) line.reached++
  line.note = noteOf(line.note, sent.reply)
  const found = shownIn(sent.reply, victim, sent.text)
  for (const what of found) findings.leak({ where: sent.route, request: sent.request, what })
  const cached = sharedBy(sent.reply)
  if (
    cached !== undefined && !isOff(route) && isSafe(route) &&
    attacker.secrets.find(sent.reply.body).length > 0
  )
    findings.leak({
      where: sent.route,
      request: sent.request,
      what: `a shared cache may keep the tenant's reply: ${cached}`
    })
  return found.length > 0
}

/** Returns the header that allows a shared cache to store a reply. */
function sharedBy ({ status, headers }: CapturedReply): string | undefined {
  if (status !== 200) return undefined
  const name = ['cache-control', 'cdn-cache-control', 'surrogate-control'].find(each => {
    const value = headers[each] ?? ''
    return /\bpublic\b|s-maxage=[1-9]|max-age=[1-9]/i.test(value) && !/private|no-store/i.test(value)
  })
  return name && `${name}: ${headers[name]}`
}

/** Returns the values of a tenant in a reply, except echoes of sent values. */
export function shownIn (reply: CapturedReply, { secrets }: Identity, sent: string): string[] {
  const parts = [...Object.entries(reply.headers).map(([name, value]) => [`header ${name}`, value] as const),
    ['body', reply.body] as const, ['status', reply.status === 0 ? reply.body : ''] as const]
  return parts.flatMap(([part, text]) =>
    secrets.find(text, sent).map(({ value, of }) => `${value} (${of}) in the ${part}`)
  )
}

/** Returns the parts of a reply, without texts that differ with every request. */
export function comparable (
  sent: { readonly reply: CapturedReply; readonly probe: { readonly ids: ReadonlySet<string> } },
  who: Identity,
  values: readonly unknown[] = []
): Map<string, string> {
  const noise = [...values.map(String), ...values.map(value => encodeURIComponent(String(value))),
    ...sent.probe.ids]
    .filter(text => text.length > 2 || /\W/.test(text))
  const parts = partsOf(sent.reply, noise.toSorted((a, b) => b.length - a.length))
  const mark = new RegExp(`${who.secrets.mark}[a-z0-9]*`, 'gi')
  return new Map([...parts].map(([name, value]) => [name, value.replaceAll(mark, '…')]))
}

/** Returns the first part that the victim changed, as text. */
export function describe ([first]: readonly Difference[]): string {
  return first === undefined
    ? ''
    : `${first.part}: ${first.before.slice(0, 100)} became ${first.now.slice(0, 100)}`
}

export { differences }

function noteOf (note: string, { status }: CapturedReply): string {
  const seen = note.split(' ').filter(Boolean)
  return seen.includes(String(status)) || seen.length > 5 ? note : [...seen, status].join(' ')
}

/** Waits for background work of earlier requests. */
export function settle (milliseconds = 60): Promise<void> {
  return new Promise(resolve => {
    setTimeout(resolve, milliseconds)
  })
}
