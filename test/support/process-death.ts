// Simulates the death of a process as its servers see it: from one statement on nothing is sent,
// and all its connections end.
import { AsyncLocalStorage } from 'node:async_hooks'
import pg from 'pg'

interface Life {
  statements: number
  readonly last: number
  readonly clients: Set<pg.Client>
}

interface Wire {
  readonly connection: { readonly stream: { destroy(): void } }
}

const lives = new AsyncLocalStorage<Life>()
const lifeOf = new WeakMap<pg.Client, Life>()
const { query, connect } = pg.Client.prototype

Object.assign(pg.Client.prototype, {
  connect (this: pg.Client, ...args: unknown[]): unknown {
    const life = lives.getStore()
    if (life !== undefined) {
      if (life.statements > life.last) return refuse(args)
      life.clients.add(this)
      lifeOf.set(this, life)
    }
    return connect.apply(this, args as never)
  },
  query (this: pg.Client, ...args: unknown[]): unknown {
    const life = lifeOf.get(this)
    if (life !== undefined && life.statements++ === life.last) {
      for (const client of life.clients) (client as unknown as Wire).connection.stream.destroy()
    }
    return query.apply(this, args as never)
  }
})

/**
 * Runs `work` as a process that dies after sending so many statements. Applies to clients that
 * connect within `work`.
 *
 * @returns whether the process died
 */
export async function inLifeOf (statements: number, work: () => Promise<unknown>): Promise<boolean> {
  const life: Life = { statements: 0, last: statements, clients: new Set() }
  const error = await lives.run(life, work).then(() => undefined, (error: unknown) => error)
  const isDead = life.statements > life.last
  if (!isDead && error !== undefined) throw error
  return isDead
}

function refuse (args: readonly unknown[]): unknown {
  const error = new Error('the process is dead')
  const callback = args.at(-1)
  if (typeof callback !== 'function') return Promise.reject(error)
  ;(callback as (error: Error) => void)(error)
  return undefined
}
