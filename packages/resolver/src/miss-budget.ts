import { rateLimited } from '@fastify-tenancy/core'
import ipaddr from 'ipaddr.js'
import { LRUCache } from 'lru-cache'

/** Addresses that are remembered. Whoever sends from more of them is bounded by the registry's queue alone. */
const mostAddresses = 10_000

interface MissAllowance {
  left: number
  /** Milliseconds of the clock at which `left` was true. */
  at: number
}

/**
 * How many look-ups of names that turn out to be nobody's each client address may cause in a minute: made-up names are in no cache,
 * so that without a bound one client could keep the registry busy, and strangers' first requests waiting. A look-up is paid for
 * when it begins, and given back when it finds a tenant: so it bounds those under way as well.
 */
export class MissBudget {
  readonly #perMinute: number
  readonly #now: () => number
  readonly #accounts = new LRUCache<string, MissAllowance>({ max: mostAddresses })

  constructor (perMinute: number, now: () => number) {
    this.#perMinute = perMinute
    this.#now = now
  }

  /** Takes one look-up from an address' budget, and returns the function that gives it back; undefined where it is spent. */
  spend (ip: string | undefined): (() => void) | undefined {
    const account = this.#accountOf(clientNetwork(ip))
    if (account.left < 1) return undefined
    account.left--
    return () => {
      account.left = Math.min(this.#perMinute, account.left + 1)
    }
  }

  /** The refusal of an address whose budget is spent. */
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
 * What a client is counted by: an IPv4 address, also where it is written as IPv6 (`::ffff:192.0.2.1`); of IPv6 the /64,
 * which is what one customer of a provider gets. All that is no address shares one account.
 */
export function clientNetwork (ip: string | undefined): string {
  if (ip === undefined || !ipaddr.isValid(ip)) return 'unknown'
  const address = ipaddr.process(ip)
  return address instanceof ipaddr.IPv6
    ? address.parts.slice(0, 4).map(part => part.toString(16)).join(':')
    : address.toString()
}
