import type { ScopeTransaction, TenantScope } from '@fastify-tenancy/core'
import { setTimeout } from 'node:timers/promises'

import { resolveCallOptions, type ResolvedCallOptions, type WrapOptions } from './call-options.ts'
import type { Engine } from './engine.ts'
import { SameTurn } from './same-turn.ts'
import { SingleFlight } from './single-flight.ts'
import type { CacheLock, CacheRead, Stamp } from './store.ts'

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

/** `wrap`: reads, and on a miss loads once for all who ask at the same time. */
export class Loader {
  readonly #engine: Engine
  readonly #flights = new SingleFlight<string | undefined>()
  readonly #stamps = new SameTurn<Stamp | undefined>()

  constructor (engine: Engine) {
    this.#engine = engine
  }

  async wrap (
    scope: TenantScope,
    key: string,
    load: () => unknown,
    given: WrapOptions | undefined,
    isChanged: boolean
  ): Promise<unknown> {
    const call: Call = {
      scope,
      tenant: scope.tenant.id,
      key,
      load,
      options: resolveCallOptions('wrap', given)
    }
    const found = isChanged ? undefined : await this.#read(call)
    scope.assertOpen()
    const value = found && this.#engine.codec.decodeRead(found)
    if (scope.transaction?.isOpen) {
      const isFresh = found !== undefined && value !== undefined && found.staleAt > this.#engine.now()
      return isFresh
        ? value
        : this.#engine.codec.decode(
          await this.#loadInTransaction(call, scope.transaction, await this.#stamp(call, found))
        )
    }
    if (found === undefined || value === undefined)
      return this.#engine.codec.decode(await this.#fly(call, await this.#stamp(call, found), false))
    // The load may use the handles of this request, which therefore outlive its reply.
    if (found.staleAt <= this.#engine.now())
      scope.waitUntil(this.#stamp(call, found).then(stamp => this.#fly(call, stamp, true)))
    return value
  }

  /**
   * Joins the load that began from the same state, or begins one. The state is part of the flight's name:
   * who reads after a flush must not be handed what was loaded before it.
   */
  #fly (call: Call, stamp: Stamp | undefined, isRefresh: boolean): Promise<string | undefined> {
    const state = stamp === undefined ? 'outage' : stamp.epoch + stamp.mark + stamp.tags.join('')
    return this.#flights.run(`${call.tenant}\n${state}\n${call.key}`, async () => {
      const release = call.scope.hold()
      try {
        return call.options.lock && stamp !== undefined
          ? await this.#loadLocked(call, stamp, isRefresh)
          : await this.#load(call, stamp)
      } finally {
        release()
      }
    }, () => call.scope.isClosed)
  }

  async #load (call: Call, stamp: Stamp | undefined): Promise<string | undefined> {
    const payload = this.#engine.codec.encode(await call.load())
    await this.#keep(call, payload, stamp)
    return payload
  }

  /** A load that sees what only this request may see: nobody shares it, and it is kept after the commit, if nothing overtook it. */
  async #loadInTransaction (
    call: Call,
    transaction: ScopeTransaction,
    stamp: Stamp | undefined
  ): Promise<string | undefined> {
    const payload = this.#engine.codec.encode(await call.load())
    transaction.afterCommit(() => this.#keep(call, payload, stamp).catch(() => {}))
    return payload
  }

  async #keep (
    { tenant, key, options, scope }: Call,
    payload: string | undefined,
    stamp: Stamp | undefined
  ): Promise<void> {
    if (payload === undefined || stamp === undefined) return
    const problem = this.#engine.codec.problem(payload)
    if (problem === undefined)
      await this.#engine.forgiving(
        this.#engine.store.write(tenant, key, this.#engine.entry(payload, options), stamp)
      )
    else scope.log.warn({ cacheKey: key.slice(0, 200) }, problem)
  }

  async #loadLocked (call: Call, first: Stamp, isRefresh: boolean): Promise<string | undefined> {
    const { store, now } = this.#engine
    const deadline = now() + lockWait
    for (let stamp: Stamp | undefined = first;; stamp = undefined) {
      const lock = await this.#engine.forgiving<CacheLock | undefined>(
        store.lock(call.tenant, call.key, lockLife)
      )
      // Another process may have stored it while we waited.
      const found: CacheRead | undefined = stamp === undefined || lock !== undefined
        ? await this.#read(call)
        : undefined
      const isFresh = found?.payload !== undefined && found.staleAt > now() && !found.isCounter
      try {
        if (isFresh) return found.payload
        if (lock === undefined && isRefresh) return undefined
        if (lock !== undefined || now() > deadline)
          return await this.#load(call, await this.#stamp(call, found))
      } finally {
        await lock?.().catch(() => {}) // it ends by itself
      }
      await setTimeout(lockPoll * (0.5 + Math.random()))
    }
  }

  /** Undefined while the store cannot be reached. */
  #read ({ tenant, key }: Call): Promise<CacheRead | undefined> {
    return this.#engine.forgiving(this.#engine.store.read(tenant, key))
  }

  async #stamp (
    { tenant, key, options: { tags } }: Call,
    found: CacheRead | undefined
  ): Promise<Stamp | undefined> {
    if (found === undefined) return undefined
    if (found.stamp !== undefined && tags.length === 0) return found.stamp
    return this.#stamps.ask(
      JSON.stringify([tenant, key, tags]),
      () => this.#engine.forgiving(this.#engine.store.begin(tenant, key, tags))
    )
  }
}
