import type { ScopeTransaction, TenantScope } from '@fastify-tenancy/core'
import { setTimeout } from 'node:timers/promises'

import type { CacheContext } from './cache-context.ts'
import { resolveCallOptions, type ResolvedCallOptions, type WrapOptions } from './call-options.ts'
import { SameTick } from './same-tick.ts'
import { SingleFlight } from './single-flight.ts'
import type { CacheLock, CacheRead, CasToken } from './store.ts'

/** One call of `wrap`. */
interface Call {
  readonly scope: TenantScope
  readonly tenant: string
  readonly key: string
  readonly load: () => unknown
  readonly options: ResolvedCallOptions
}

const lockLife = 10_000
const lockWait = 5_000
const lockPoll = 25

/** Implements `wrap`: reads, and on a miss loads once for all concurrent callers. */
export class Loader {
  readonly #engine: CacheContext
  readonly #flights = new SingleFlight<string | undefined>()
  readonly #casTokens = new SameTick<CasToken | undefined>()

  constructor (context: CacheContext) {
    this.#engine = context
  }

  async wrap (
    scope: TenantScope,
    key: string,
    load: () => unknown,
    input: WrapOptions | undefined,
    isChanged: boolean
  ): Promise<unknown> {
    const call: Call = {
      scope,
      tenant: scope.tenant.id,
      key,
      load,
      options: resolveCallOptions('wrap', input)
    }
    const found = isChanged ? undefined : await this.#read(call)
    scope.assertOpen()
    const value = found && this.#engine.codec.decodeRead(found)
    if (scope.transaction?.isOpen) {
      const isFresh = found !== undefined && value !== undefined && found.staleAt > this.#engine.now()
      return isFresh
        ? value
        : this.#engine.codec.decode(
          await this.#loadInTransaction(call, scope.transaction, await this.#casToken(call, found))
        )
    }
    if (found === undefined || value === undefined)
      return this.#engine.codec.decode(await this.#fly(call, await this.#casToken(call, found), false))
    // The load may use the handles of this request, so they stay open after its reply.
    if (found.staleAt <= this.#engine.now())
      scope.waitUntil(this.#casToken(call, found).then(casToken => this.#fly(call, casToken, true)))
    return value
  }

  /**
   * Joins the load that began from the same state, or begins one. The state is part of the flight's
   * name, because a caller that reads after a flush must not get a value loaded before it.
   */
  #fly (call: Call, casToken: CasToken | undefined, isRefresh: boolean): Promise<string | undefined> {
    const state = casToken === undefined
      ? 'outage'
      : casToken.generation + casToken.entryVersion + casToken.tags.join('')
    return this.#flights.run(`${call.tenant}\n${state}\n${call.key}`, async () => {
      const release = call.scope.hold()
      try {
        return call.options.lock && casToken !== undefined
          ? await this.#loadLocked(call, casToken, isRefresh)
          : await this.#load(call, casToken)
      } finally {
        release()
      }
    }, () => call.scope.isClosed)
  }

  async #load (call: Call, casToken: CasToken | undefined): Promise<string | undefined> {
    const payload = this.#engine.codec.encode(await call.load())
    await this.#keep(call, payload, casToken)
    return payload
  }

  /**
   * Loads inside a transaction, whose data only this request may see. So the load is not shared,
   * and its value is stored after the commit, if no change happened meanwhile.
   */
  async #loadInTransaction (
    call: Call,
    transaction: ScopeTransaction,
    casToken: CasToken | undefined
  ): Promise<string | undefined> {
    const payload = this.#engine.codec.encode(await call.load())
    transaction.afterCommit(() => this.#keep(call, payload, casToken).catch(() => {}))
    return payload
  }

  async #keep (
    { tenant, key, options, scope }: Call,
    payload: string | undefined,
    casToken: CasToken | undefined
  ): Promise<void> {
    if (payload === undefined || casToken === undefined) return
    const problem = this.#engine.codec.problem(payload)
    if (problem === undefined)
      await this.#engine.withOutageLog(
        this.#engine.store.write(tenant, key, this.#engine.entry(payload, options), casToken)
      )
    else scope.log.warn({ cacheKey: key.slice(0, 200) }, problem)
  }

  async #loadLocked (call: Call, first: CasToken, isRefresh: boolean): Promise<string | undefined> {
    const { store, now } = this.#engine
    const deadline = now() + lockWait
    for (let casToken: CasToken | undefined = first;; casToken = undefined) {
      const lock = await this.#engine.withOutageLog<CacheLock | undefined>(
        store.lock(call.tenant, call.key, lockLife)
      )
      // Another process may have stored the value during the wait.
      const found: CacheRead | undefined = casToken === undefined || lock !== undefined
        ? await this.#read(call)
        : undefined
      const isFresh = found?.payload !== undefined && found.staleAt > now() && !found.isCounter
      try {
        if (isFresh) return found.payload
        if (lock === undefined && isRefresh) return undefined
        if (lock !== undefined || now() > deadline)
          return await this.#load(call, await this.#casToken(call, found))
      } finally {
        await lock?.().catch(() => {}) // the lock expires by itself
      }
      await setTimeout(lockPoll * (0.5 + Math.random()))
    }
  }

  /** Returns undefined while the store cannot be reached. */
  #read ({ tenant, key }: Call): Promise<CacheRead | undefined> {
    return this.#engine.withOutageLog(this.#engine.store.read(tenant, key))
  }

  async #casToken (
    { tenant, key, options: { tags } }: Call,
    found: CacheRead | undefined
  ): Promise<CasToken | undefined> {
    if (found === undefined) return undefined
    if (found.casToken !== undefined && tags.length === 0) return found.casToken
    return this.#casTokens.ask(
      JSON.stringify([tenant, key, tags]),
      () => this.#engine.withOutageLog(this.#engine.store.begin(tenant, key, tags))
    )
  }
}
