import { installationKeys } from '@fastify-tenancy/core/keys'

import type { RedisHealth, RedisState, TenancyRedis } from './port.ts'
import type { RedisScript } from './script.ts'

/**
 * A port that adds the name of one installation to every key and channel, so that two applications
 * on one Redis share none.
 */
export class NamespacedRedis implements TenancyRedis {
  readonly namespace: string
  readonly #inner: TenancyRedis
  readonly #isOwn: boolean
  readonly #key: (key: string) => string

  /** @param isOwn whether {@link close} closes `inner`. */
  constructor (inner: TenancyRedis, namespace: string, isOwn: boolean) {
    this.#inner = inner
    this.namespace = namespace
    this.#isOwn = isOwn
    this.#key = installationKeys(namespace)
  }

  get isAvailable (): boolean {
    return this.#inner.isAvailable
  }

  get isCluster (): boolean {
    return this.#inner.isCluster
  }

  get (key: string): Promise<string | null> {
    return this.#inner.get(this.#key(key))
  }

  mget (keys: readonly string[]): Promise<(string | null)[]> {
    return this.#inner.mget(keys.map(this.#key))
  }

  set (key: string, value: string, ttl?: number): Promise<void> {
    return this.#inner.set(this.#key(key), value, ttl)
  }

  del (...keys: string[]): Promise<number> {
    return this.#inner.del(...keys.map(this.#key))
  }

  run (script: RedisScript, keys: readonly string[], args: readonly (string | number)[]): Promise<unknown> {
    return this.#inner.run(script, keys.map(this.#key), args)
  }

  removeAll (prefix: string): Promise<number> {
    return this.#inner.removeAll(this.#key(prefix))
  }

  publish (channel: string, message: string): Promise<void> {
    return this.#inner.publish(this.#key(channel), message)
  }

  subscribe (
    channel: string,
    onMessage: (message: string) => void,
    onGap: () => void
  ): Promise<() => Promise<void>> {
    return this.#inner.subscribe(this.#key(channel), onMessage, onGap)
  }

  ready (): Promise<void> {
    return this.#inner.ready()
  }

  health (): RedisHealth {
    return this.#inner.health()
  }

  state (): RedisState {
    return this.#inner.state()
  }

  async close (): Promise<void> {
    if (this.#isOwn) await this.#inner.close()
  }
}
