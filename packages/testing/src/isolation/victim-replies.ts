import { comparable, describe, differences, formFor, isSafe, type Run } from './run.ts'
import type { Route } from './route-table.ts'
import { requestName } from './sender.ts'

/** Replies to the victim's own requests, by route. */
type VictimReplies = Map<Route, Map<string, string>[]>

/** Returns replies to the victim's own requests, to be compared after the attack. */
export async function victimReplies (run: Run): Promise<VictimReplies> {
  const replies: VictimReplies = new Map()
  for (const route of run.routes.filter(each => isSafe(each) && !each.isWebsocket && !run.isOff(each))) {
    for (let time = 0; time < 2; time++) {
      const form = formFor(run, route, run.victim, 0, 0)
      if (typeof form === 'string') break
      const sent = await run.sender.send(run.victim, route, form.draft)
      if (sent.reply.isLive) break
      replies.set(route, [...replies.get(route) ?? [], comparable(sent, run.victim)])
    }
  }
  return replies
}

/**
 * Reports replies to the victim that changed while only the attacker was at work. Numbers are
 * ignored, because they may be times.
 */
export async function compareVictim (run: Run, before: VictimReplies): Promise<void> {
  const after = await victimReplies(run)
  for (const [route, quiet] of before) {
    const [now, again] = after.get(route) ?? []
    if (now === undefined || again === undefined) continue
    const changed = differences(quiet, now).filter(({ part, before: old, now: value }) =>
      again.get(part) === now.get(part) && !part.endsWith('.length') && !/^-?[\d.]+$/.test(old) &&
      !/^-?[\d.]+$/.test(value)
    )
    if (changed.length > 0)
      run.findings.leak({
        where: requestName(route),
        request: `${requestName(route)} as the victim, after the attack`,
        what: `the attacker changed the victim's reply: ${describe(changed)}`
      })
  }
}
