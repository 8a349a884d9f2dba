import { randomBytes } from 'node:crypto'

import { learn, type Identity } from './identity.ts'
import { replaced, requiredOf, type Draft } from './request.ts'
import type { Route } from './route-table.ts'
import { comparable, describe, differences, formFor, inspect, isSafe, type Run } from './run.ts'
import type { Slot } from './schema.ts'
import type { Sent } from './sender.ts'
import { sendOwn } from './sweep.ts'

/** The row that the victim's requests use, see `lastRows` of the sweeps. */
const lastRow = 63

/**
 * Makes both tenants send the same texts to each route: the same name, search or idempotency key.
 * State that is kept by such a text alone belongs to both of them.
 */
export async function askTheSame (run: Run): Promise<void> {
  const routes = run.routes.filter(route =>
    !route.isWebsocket && route.method !== 'DELETE' && !run.isOff(route)
  )
  const texts = new Map<Route, Texts>()
  for (const route of routes) {
    // So that the kit learns which headers the route reads, such as Idempotency-Key.
    if (!run.found.has(route)) await sendOwn(run, route, 0, true, undefined)
    const same = new Texts()
    if (await ask(run, route, run.victim, same) !== undefined && same.count > 0) texts.set(route, same)
  }
  await learn(run.attacker, run.victim)
  for (const [route, same] of texts) {
    const found = await compare(run, route, same)
    if (found.length === 0) continue
    // Once more with texts that only the victim has sent, so that nothing else explains it.
    const fresh = new Texts()
    await ask(run, route, run.victim, fresh)
    await learn(run.attacker, run.victim)
    const parts = new Set(found.map(({ part }) => part))
    const again = (await compare(run, route, fresh)).filter(({ part }) => parts.has(part))
    if (again.length > 0)
      run.findings.leak({
        where: `${route.method} ${route.url}`,
        request: `${route.method} ${route.url} with texts that the victim sent before`,
        what: `the reply tells what the victim sent: ${describe(again)}`
      })
  }
  for (const route of routes.filter(each => !isSafe(each))) await askForLess(run, route)
}

/** Compares the replies to the attacker: to texts that are new, and to those of the victim. */
async function compare (run: Run, route: Route, same: Texts): Promise<ReturnType<typeof differences>> {
  const quiet: Map<string, string>[] = []
  for (let time = 0; time < 2; time++) {
    const twin = new Texts()
    const sent = await ask(run, route, run.attacker, twin)
    if (sent !== undefined) quiet.push(comparable(sent, run.attacker, twin.all))
  }
  const sent = await ask(run, route, run.attacker, same)
  return sent === undefined || quiet.length === 0
    ? []
    : differences(quiet, comparable(sent, run.attacker, same.all))
}

async function ask (run: Run, route: Route, who: Identity, texts: Texts): Promise<Sent | undefined> {
  const text = texts.again()
  const row = who === run.victim ? lastRow : run.routes.indexOf(route)
  const form = formFor(run, route, { ...who, text }, 0, row)
  if (typeof form === 'string') return undefined
  const address = run.app.tenantResolver.addressOf(who.tenant).headers ?? {}
  // A parameter that is no key of a row is a name that the client chose: `PUT /files/:name`.
  const isName = ({ in: part, path: [name] }: Slot): boolean =>
    part === 'params' && !/^[\d-]+$|^[0-9a-f-]{36}$/i.test(String(form.draft.params[String(name)]))
  const found = (run.found.get(route) ?? [])
    .filter(({ in: part, path: [name] }) => part !== 'params' && !(String(name) in address))
  const draft = [...form.slots.filter(isName), ...found]
    .reduce<Draft>((all, slot) => replaced(all, slot, text()), form.draft)
  const sent = await run.sender.send(who, route, draft)
  if (who === run.attacker) inspect(run, route, sent)
  return sent
}

/** Sends only what a route requires, after the victim has sent everything. */
async function askForLess (run: Run, route: Route): Promise<void> {
  const required = requiredOf(route)
  const [full, own] = [formFor(run, route, run.victim, 0, lastRow),
    formFor(run, route, run.attacker, 0, run.routes.indexOf(route))]
  if (required === undefined || typeof full === 'string' || typeof own === 'string') return
  const body = Object.fromEntries(
    Object.entries(own.draft.body as object).filter(([name]) => required.includes(name))
  )
  await run.sender.send(run.victim, route, full.draft)
  inspect(run, route, await run.sender.send(run.attacker, route, { ...own.draft, body }))
}

/** Texts of no tenant, the same at each repetition. */
class Texts {
  readonly #seed = `same${randomBytes(4).toString('hex')}`
  count = 0

  /** Begins from the first text. */
  again (): () => string {
    this.count = 0
    return () => `${this.#seed}x${this.count++}`
  }

  get all (): string[] {
    return Array.from({ length: this.count }, (_, at) => `${this.#seed}x${at}`).toReversed()
  }
}
