import { isEmbeddedPool } from '@fastify-tenancy/postgres/client'
import type pg from 'pg'

import { PoolPulse, type ServerStatus } from './pool-pulse.ts'

/** Milliseconds between two beats. */
const every = 1_000

/**
 * The pulses of several servers by name. An embedded database has none, because it runs in this
 * process.
 */
export class Pulses {
  readonly #pulses: ReadonlyMap<string, PoolPulse>
  readonly #names: readonly string[]
  #timer: NodeJS.Timeout | undefined

  constructor (pools: readonly (readonly [name: string, pool: pg.Pool])[]) {
    this.#names = pools.map(([name]) => name)
    this.#pulses = new Map(
      pools.filter(([, pool]) => !isEmbeddedPool(pool)).map(([name, pool]) => [name, new PoolPulse(pool)])
    )
  }

  start (): void {
    this.#timer ??= setInterval(() => {
      for (const pulse of this.#pulses.values()) pulse.beat()
    }, every).unref()
  }

  stop (): void {
    clearInterval(this.#timer)
    for (const pulse of this.#pulses.values()) pulse.stop()
  }

  status (): Readonly<Record<string, ServerStatus>> {
    return Object.fromEntries(this.#names.map(name => [name, this.#pulses.get(name)?.status ?? 'ok']))
  }
}
