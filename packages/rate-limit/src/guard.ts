import { channels } from '@fastify-tenancy/core'
import type { FastifyReply, FastifyRequest } from 'fastify'

import { rateLimited } from './errors.ts'
import { sendHeaders } from './headers.ts'
import { InFlight } from './in-flight.ts'
import type { Limiter } from './limiter.ts'
import type { ResolvedRateLimitOptions } from './options.ts'
import type { Decision } from './quota.ts'
import type { RateLimitTarget } from './rate-limit-targets.ts'

/** The continuation of a hook. */
export type Done = (error?: Error) => void

/** Admits a request of a target, or answers it with 429. */
export class Guard {
  readonly #limiter: Limiter
  readonly #options: Pick<ResolvedRateLimitOptions, 'headers' | 'mode'>
  readonly #inFlight = new InFlight()

  constructor (limiter: Limiter, options: Pick<ResolvedRateLimitOptions, 'headers' | 'mode'>) {
    this.#limiter = limiter
    this.#options = options
  }

  /**
   * Answers 429, or passes on the refusal that the resolver stored, or lets the request continue.
   */
  readonly admit = (
    request: FastifyRequest,
    reply: FastifyReply,
    target: RateLimitTarget,
    done: Done
  ): void => {
    const { route, refusal } = request.tenancy
    const leave = this.#enter(target, reply)
    if (leave === undefined && this.#isRefused('concurrency', 1_000, request, reply, done)) return

    const settle = (decision: Decision | undefined): void => {
      if (decision !== undefined) {
        if (!this.#isForStranger(request, decision))
          sendHeaders(reply, this.#options.headers, target, decision)
        if (
          decision.wait > 0 &&
          this.#isRefused(target.quotas[decision.limitedBy]?.name, decision.wait, request, reply, done)
        ) return leave?.()
      }
      end(reply, refusal, done)
    }
    const decision = target.quotas.length === 0 ? undefined : this.#limiter.take(target.quotas, route.cost)
    if (decision instanceof Promise) decision.then(settle, (error: Error) => end(reply, error, done))
    else settle(decision)
  }

  // Whether the client seems to belong to another tenant. This refusal precedes the check of the
  // claim, and its numbers would describe the host's tenant.
  #isForStranger ({ tenancy }: FastifyRequest, { wait }: Decision): boolean {
    return wait > 0 && this.#options.mode === 'enforce' && tenancy.seemsToAgree?.() === false
  }

  /** Sends 429, or in report mode only logs that it would. */
  #isRefused (
    limit: string | undefined,
    wait: number,
    request: FastifyRequest,
    reply: FastifyReply,
    done: Done
  ): boolean {
    const retryAfter = Math.ceil(wait / 1_000)
    if (channels.limited.hasSubscribers) {
      const { mode } = this.#options
      // Requests to a refused tenant count against the sender's address.
      const { scope, refusal } = request.tenancy
      const tenant = refusal === undefined ? scope?.tenant : undefined
      channels.limited.publish({ tenant, limit: limit ?? 'tenant', mode, request })
    }
    if (this.#options.mode === 'report') {
      request.log.warn({ limit, retryAfter }, "over the limit: let through, because mode is 'report'")
      return false
    }
    end(reply, rateLimited(retryAfter), done)
    return true
  }

  /**
   * Takes one of the target's places until the response closes, however it ends: sent, hijacked,
   * aborted or timed out. Returns undefined if all places are taken.
   */
  #enter ({ key, limits }: RateLimitTarget, reply: FastifyReply): (() => void) | undefined {
    if (limits.concurrency === undefined) return nothing
    const leave = this.#inFlight.enter(key, limits.concurrency)
    if (leave === undefined) return undefined
    reply.raw.once('close', leave)
    if (reply.raw.destroyed) leave() // the client left during the look-up
    return leave
  }
}

function end (reply: FastifyReply, error: Error | undefined, done: Done): void {
  if (error !== undefined && 'retryAfter' in error && error.retryAfter !== undefined)
    reply.header('retry-after', error.retryAfter)
  done(error)
}

function nothing (): void {}
