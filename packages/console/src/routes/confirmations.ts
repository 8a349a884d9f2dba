import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto'

/** How long a confirmation page is good for, in milliseconds. */
const validMs = 15 * 60_000

/**
 * Nonces that are remembered. Beyond, the oldest are forgotten; a tenant's version still refuses
 * what they confirmed.
 */
const mostUsed = 10_000

/** What a confirmation is for. The token is of no use for anything else. */
export interface Subject {
  readonly actor: string
  readonly action: string
  readonly tenant: string
  /** The version of the tenant that the operator saw. */
  readonly version: number
  /** The new plan, where the action has one. */
  readonly plan?: string | undefined
}

/** Why a token is refused. */
type TokenProblem = 'forged' | 'expired' | 'used'

/**
 * Makes and checks the tokens of confirmation pages. A token is signed with the secret of the
 * operator's session cookie, which no other site can read, and holds for one use of one action on
 * one version of one tenant. So any process can check it, and one that was used is refused: in the
 * same process by its nonce, in others because the action gave the tenant a new version.
 */
export class Confirmations {
  readonly #used = new Map<string, number>()
  readonly #now: () => number

  /** @param now milliseconds since 1970 */
  constructor (now: () => number = () => Date.now()) {
    this.#now = now
  }

  /** Makes the token of one confirmation page. */
  issue (session: string, subject: Subject): string {
    const nonce = randomBytes(16).toString('base64url')
    const expires = String(this.#now() + validMs)
    return [nonce, expires, sign(session, nonce, expires, subject)].join('.')
  }

  /** Uses a token up. @returns why it is refused, or undefined */
  redeem (session: string, subject: Subject, token: string): TokenProblem | undefined {
    const [nonce = '', expires = '', signature = '', ...more] = token.split('.')
    const genuine = sign(session, nonce, expires, subject)
    if (more.length > 0 || !isSame(signature, genuine)) return 'forged'
    if (this.#used.has(nonce)) return 'used'
    if (Number(expires) <= this.#now()) return 'expired'
    this.#remember(nonce, Number(expires))
    return undefined
  }

  // In the order of their use, which is nearly that of their expiry.
  #remember (nonce: string, expires: number): void {
    for (const [old, until] of this.#used) {
      if (until > this.#now() && this.#used.size < mostUsed) break
      this.#used.delete(old)
    }
    this.#used.set(nonce, expires)
  }
}

function sign (session: string, nonce: string, expires: string, subject: Subject): string {
  const { actor, action, tenant, version, plan = null } = subject
  return createHmac('sha256', session)
    .update(JSON.stringify([nonce, expires, actor, action, tenant, version, plan]))
    .digest('base64url')
}

function isSame (given: string, genuine: string): boolean {
  const [a, b] = [Buffer.from(given), Buffer.from(genuine)]
  return a.length === b.length && timingSafeEqual(a, b)
}
