import { attackCache, cacheAttacks } from './attack-cache.ts'
import { attackTables } from './attack-tables.ts'
import { Findings } from './findings.ts'
import { changeBetween } from './rows.ts'
import { differences, inspect, settle, type Run } from './run.ts'
import { partsOf, type CapturedReply } from './reply.ts'
import { Probe } from './probe.ts'
import { requestName, type Sent } from './sender.ts'
import { Witness } from './witness.ts'

/**
 * Plants a leak for each kind of check, and fails if the check does not find it. For tables, the
 * victim attacks its own rows. Replies and log lines with the victim's values are simulated.
 *
 * @returns the kinds that were proved
 * @throws Error naming the check that found nothing
 */
export async function proveItself (run: Run): Promise<string[]> {
  const proved = ['reply', 'header', 'encoded reply', 'changed reply', 'row']
  const secret = run.victim.text()
  for (const [way, reply] of Object.entries(leakyReplies(secret)))
    if (!finds(run, reply)) throw blind(`${way} that shows ${secret}`)
  const before = new Map([['t', ['{"id":1}']]])
  if (changeBetween(before, new Map([['t', ['{"id":2}']]])) === undefined) throw blind('changed row')
  const quiet = partsOf(reply('{"n":1}'))
  if (differences([quiet, quiet], partsOf(reply('{"n":2}'))).length === 0)
    throw blind('count that the victim changed')

  if (await provesLogs(run, secret)) proved.push('log')
  proved.push(...await provesOutgoing(run, secret), ...await provesTables(run))
  if (run.app.hasDecorator('tenantCache')) {
    const findings = new Findings()
    await attackCache(run.app, run.victim.tenant, run.victim.tenant, secret, findings)
    if (findings.leaks.length < cacheAttacks) throw blind('cached value')
    proved.push('cache')
  }
  return proved
}

function leakyReplies (secret: string): Record<string, CapturedReply> {
  return {
    'a body': reply(JSON.stringify({ rows: [{ name: secret }] })),
    'an error body': { ...reply(JSON.stringify({ message: `key (name)=(${secret}) exists` })), status: 409 },
    'a header': { ...reply('{}'), headers: { 'x-next': `/projects?after=${secret}` } },
    'a cursor': reply(
      JSON.stringify({ cursor: Buffer.from(JSON.stringify({ after: secret })).toString('base64url') })
    )
  }
}

function reply (body: string): CapturedReply {
  return { status: 200, headers: { 'content-type': 'application/json' }, body, isLive: false }
}

function finds (run: Run, leaky: CapturedReply): boolean {
  const [route] = run.routes
  if (route === undefined)
    throw new Error('the application has no routes: register them before assertIsolated()')
  const findings = new Findings()
  const sent: Sent = {
    route: requestName(route),
    request: 'planted',
    text: '',
    reply: leaky,
    probe: new Probe(false),
    live: undefined
  }
  return inspect({ ...run, findings }, route, sent) && findings.leaks.length > 0
}

/** Proves the log check with a line of the application's own logger. */
async function provesLogs (run: Run, secret: string): Promise<boolean> {
  const findings = new Findings()
  const witness = new Witness({ ...run, findings })
  witness.worker = run.attacker
  run.app.log.fatal({ kit: secret }, 'a leak that @fastify-tenancy/testing planted to prove itself')
  await settle(1)
  witness.stop()
  if (findings.of('logs').note !== '') return false
  if (findings.leaks.length === 0) throw blind('log line')
  return true
}

async function provesOutgoing (run: Run, secret: string): Promise<string[]> {
  const findings = new Findings()
  const witness = new Witness({ ...run, findings })
  witness.worker = run.attacker
  await fetch(`data:text/plain,${secret}`).catch(() => {})
  witness.stop()
  if (findings.leaks.length === 0) throw blind('outgoing request')
  return ['outgoing request']
}

/**
 * The victim's own handle reads and changes its rows, so each kind of attack that reaches a row must
 * be reported.
 */
async function provesTables (run: Run): Promise<string[]> {
  const { app, tables, victim } = run
  const written = tables.filter(({ name }) => victim.rows.of(name).length > 0)
  const findings = new Findings()
  const kinds = new Map<string, boolean>()
  await attackTables({
    app,
    kinds,
    tables: written,
    attacker: victim.tenant,
    own: victim.rows,
    victim: victim.tenant,
    target: victim.rows,
    secrets: victim.secrets,
    findings
  })
  for (const { name } of written)
    if (!findings.leaks.some(({ where }) => where === `table ${name}`)) throw blind(`row of table ${name}`)
  // One report of a table proves nothing of its other checks, such as that of raw SQL.
  for (const [kind, isReported] of kinds)
    if (!isReported) throw blind(`row that a statement reached (${kind})`)
  return written.length > 0 ? ['tables'] : []
}

function blind (what: string): Error {
  return new Error(
    `assertIsolated() planted a ${what} and did not find it, so its report on this application ` +
      'is not reliable'
  )
}
