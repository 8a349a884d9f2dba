import type { LiveConnection } from './live.ts'
import { candidatesFor } from './candidates.ts'
import type { Identity } from './identity.ts'
import { formFor, settle, type Run } from './run.ts'
import { replaced, type ExampleOf } from './request.ts'
import type { Route } from './route-table.ts'
import { requestName, quietMs } from './sender.ts'

/**
 * Maximum number of rows whose keys are sent over one websocket and tried in each part of its URL.
 */
const maxKeys = 8

/** Opens every websocket as a tenant, with the tenant's own values. */
export async function openSockets (run: Run, who: Identity): Promise<LiveConnection[]> {
  const opened: LiveConnection[] = []
  for (const route of run.routes.filter(each => each.isWebsocket)) {
    const line = run.findings.of(requestName(route))
    const form = formFor(run, route, who, 0, 0)
    const live = typeof form === 'string' ? form : await run.sender.open(who, route, form.draft)
    if (typeof live === 'string') {
      if (who.role === 'attacker') line.problem = live
      continue
    }
    line.reached++
    opened.push(live)
    for (const message of messagesOf(run, route, who)) live.send(message)
  }
  return opened
}

/** Opens websockets and sends messages as the attacker with the victim's values. */
export async function attackSockets (run: Run, open: readonly LiveConnection[]): Promise<void> {
  for (const route of run.routes.filter(each => each.isWebsocket)) {
    const name = requestName(route)
    const messages = messagesOf(run, route, { ...run.victim, text: run.attacker.text })
    for (const live of open.filter(({ where }) => where === name)) {
      for (const message of messages) {
        run.findings.of(name).requests++
        run.sender.recent.push(message)
        run.victim.secrets.giveAway(message)
        live.send(message)
        await settle(quietMs / 5)
        report(run, name, `a message ${message}`, live, message)
      }
      await settle(quietMs)
      report(run, name, "messages with the victim's values", live, messages.join('\n'))
    }
    const form = formFor(run, route, run.attacker, 0, 0)
    if (typeof form === 'string') continue
    for (const slot of [...form.slots, ...run.found.get(route) ?? []]) {
      for (const { value } of candidatesFor(route, slot, run.victim, run.tables, 1).slice(0, maxKeys)) {
        run.findings.of(name).requests++
        const live = await run.sender.open(run.attacker, route, replaced(form.draft, slot, value))
        if (typeof live === 'string') continue
        await settle(quietMs)
        report(run, name, `${slot.in} ${slot.path.join('.')} = ${String(value)}`, live, String(value))
        live.close()
      }
    }
  }
}

/** Reports data on open connections that contains values of the other tenant. */
export function reportLive (run: Run, connections: readonly LiveConnection[], who: Identity): void {
  const other = who.role === 'attacker' ? run.victim : run.attacker
  for (const live of connections) {
    const where = live.where.replace(/ as the \w+$/, '')
    const [shown] = other.secrets.find(live.take(), run.sender.recent.join('\n'))
    if (shown !== undefined)
      run.findings.leak({
        where,
        request: `an open connection of the ${who.role}`,
        what: `${shown.value} (${shown.of}) arrived while the ${other.role} was at work`
      })
  }
}

function report (run: Run, where: string, request: string, live: LiveConnection, sent: string): void {
  const [shown] = run.victim.secrets.find(live.take(), sent)
  if (shown !== undefined)
    run.findings.leak({ where, request: `${request} as the attacker`, what: `${shown.value} (${shown.of})` })
}

function messagesOf ({ examples }: Run, route: Route, who: Identity): string[] {
  const example: ExampleOf<readonly unknown[]> | undefined = examples[requestName(route)]?.messages
  const rows = who.rows.at(who.role === 'victim' ? 2 : 0)
  const input = typeof example === 'function' ? example(rows) : example
  const keys = Object.entries(rows).map(([table, row]) =>
    [table, row['id'] ?? Object.values(row)[0]] as const
  ).slice(0, maxKeys)
  const generic = [
    who.text(),
    { type: 'message', text: who.text() },
    ...keys.flatMap(([table, id]) => [
      String(id),
      { type: 'subscribe', id, channel: id, room: id, topic: table, [`${table.replace(/s$/, '')}Id`]: id }
    ])
  ]
  return (input ?? generic).map(message => typeof message === 'string' ? message : JSON.stringify(message))
}
