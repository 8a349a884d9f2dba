import { watchLogs } from './logs.ts'
import { watchOutgoing } from './outgoing.ts'
import type { Identity } from './identity.ts'
import type { Run } from './run.ts'

/** Reads logs and outgoing requests while one of the tenants is at work. */
export class Witness {
  readonly #run: Run
  readonly #stops: (() => void)[] = []
  #worker: Identity | undefined

  constructor (run: Run) {
    this.#run = run
    const { findings, app } = run
    const log = watchLogs(app, line => this.#read('logs', line))
    const line = findings.of('logs')
    if (!log.isReadable) line.note = 'the logger is off or not pino: only stdout and stderr were read'
    this.#stops.push(() => log.stop(), watchOutgoing(text => this.#read('outgoing requests', text)))
    findings.of('outgoing requests')
  }

  /**
   * Sets the tenant whose requests are being sent; undefined while the kit itself writes to the
   * database.
   */
  set worker (who: Identity | undefined) {
    this.#worker = who
  }

  stop (): void {
    for (const stop of this.#stops) stop()
  }

  #read (where: 'logs' | 'outgoing requests', text: string): void {
    const who = this.#worker
    if (who === undefined) return
    const { attacker, victim, findings, sender } = this.#run
    const other = who === attacker ? victim : attacker
    const line = findings.of(where)
    line.requests++
    line.reached++
    // Skip lines with the other tenant's id, which come from background work of its earlier
    // requests.
    if (text.includes(`"tenant":"${other.tenant.id}"`)) return
    const [shown] = other.secrets.find(text, sender.recent.join('\n'))
    if (shown !== undefined)
      findings.leak({
        where,
        request: `while the ${who.role} was at work: ${text.trim().slice(0, 300)}`,
        what: `${shown.value} (${shown.of} of the ${other.role})`
      })
  }
}
