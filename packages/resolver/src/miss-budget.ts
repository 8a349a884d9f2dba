import { rateLimited } from '@fastify-tenancy/core/errors'
import ipaddr from 'ipaddr.js'
import { LRUCache } from 'lru-cache'

/**
 * Addresses that are remembered. A client with more addresses is bounded only by the registry's
 * queue.
 */
const mostAddresses = 10_000

interface MissAllowance {
  left: number
  /** Clock time in milliseconds at which `left` was computed. */
  at: number
}

/**
 * Limits the look-ups of unknown names per client address and minute. Made-up names are in no
 * cache, so one client could otherwise keep the registry busy and delay first requests of others.
 *
 * A look-up is charged when it begins and refunded when it finds a tenant, so the budget also
 * bounds look-ups in progress.
 */
export class MissBudget {
  readonly #perMinute: number
  readonly #now: () => number
  readonly #accounts = new LRUCache<string, MissAllowance>({ max: mostAddresses })

  constructor (perMinute: number, now: () => number) {
    this.#perMinute = perMinute
    this.#now = now
  }

  /**
   * Takes one look-up from the budget of an address and returns the function that refunds it.
   * Returns undefined if the budget is spent.
   */
  spend (ip: string | undefined): (() => void) | undefined {
    const account = this.#accountOf(clientNetwork(ip))
    if (account.left < 1) return undefined
    account.left--
    return () => {
      account.left = Math.min(this.#perMinute, account.left + 1)
    }
  }

  /** Returns the error for an address whose budget is spent. */
  refusal (ip: string | undefined): Error {
    const { left } = this.#accountOf(clientNetwork(ip))
    return rateLimited(Math.max(1, Math.ceil((1 - left) * 60 / this.#perMinute)))
  }

  #accountOf (network: string): MissAllowance {
    const now = this.#now()
    let account = this.#accounts.get(network)
    if (account === undefined) this.#accounts.set(network, account = { left: this.#perMinute, at: now })
    account.left = Math.min(this.#perMinute, account.left + (now - account.at) * this.#perMinute / 60_000)
    account.at = now
    return account
  }
}

/**
 * Returns the network by which a client is counted: an IPv4 address, or the /64 of an IPv6 address,
 * which a provider assigns to one customer. `::ffff:192.0.2.1` counts as IPv4. All invalid
 * addresses share one account.
 */
export function clientNetwork (ip: string | undefined): string {
  if (ip === undefined || !ipaddr.isValid(ip)) return 'unknown'
  const address = ipaddr.process(ip)
  return address instanceof ipaddr.IPv6
    ? address.parts.slice(0, 4).map(part => part.toString(16)).join(':')
    : address.toString()
}
