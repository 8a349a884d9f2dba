// Clients of every tenant that send random requests to random processes.
import { setTimeout as pause } from 'node:timers/promises'

import type { Random } from '../isolation/fuzz/random.ts'
import { Client, type Request } from './client.ts'
import type { Operation } from './history.ts'
import type { Recorder } from './recorder.ts'

export interface WorkloadOptions {
  readonly random: Random
  readonly recorder: Recorder
  readonly tenants: readonly string[]
  /** The tenant whose clients only ask for their name, more often than its limit allows. */
  readonly limited: string
  readonly clientsPerTenant: number
  /** The shortest and the longest pause of a client between two requests. */
  readonly pauseMs: readonly [number, number]
  readonly processes: number
  /** Where a process listens now. */
  port(process: number): number
  /** The slugs that a client of the tenant may use now. */
  slugs(tenant: string): readonly string[]
}

const operations: readonly (readonly [Operation, number])[] = [['write', 5], ['transfer', 4], [
  'failing transfer',
  2
], ['read', 3], ['value', 2], ['staged', 3], ['mark', 2], ['me', 2]]
const choices = operations.flatMap(([operation, weight]) => Array.from({ length: weight }, () => operation))

/** How many of the last transfers of a tenant are looked up in the cache. */
const remembered = 20
/** The part of the requests whose client does not wait for long. */
const impatient = 0.06
/** A request without an answer is given up, and breaks a rule. */
const giveUpMs = 20_000

export class Workload {
  readonly #options: WorkloadOptions
  readonly #client = new Client()
  readonly #transfers = new Map<string, string[]>()
  readonly #ending = new AbortController()
  readonly #done: Promise<unknown>
  #keys = 0

  /** Starts the clients. */
  constructor (options: WorkloadOptions) {
    this.#options = options
    this.#done = Promise.all(
      options.tenants.flatMap(tenant =>
        Array.from({ length: options.clientsPerTenant }, () => this.#run(tenant))
      )
    )
  }

  /** Resolves when every request under way is answered. */
  async stop (): Promise<void> {
    this.#ending.abort()
    await this.#done
    this.#client.close()
  }

  async #run (tenant: string): Promise<void> {
    const { random, pauseMs: [least, most] } = this.#options
    while (!this.#ending.signal.aborted) {
      await this.#call(tenant)
      await pause(least + random.below(most - least))
    }
  }

  async #call (tenant: string): Promise<void> {
    const { random, recorder, limited, processes } = this.#options
    const operation = tenant === limited ? 'me' : random.pick(choices)
    const process = random.below(processes)
    const slug = random.pick(this.#options.slugs(tenant))
    const transfers = this.#transfers.get(tenant) ?? []
    const key = operation === 'staged' && transfers.length > 0 ? random.pick(transfers) : `k${++this.#keys}`
    if (operation.endsWith('transfer')) this.#transfers.set(tenant, [key, ...transfers].slice(0, remembered))
    const sent = performance.now()
    const answer = await this.#client.send({
      ...requestOf(operation, key, `${tenant}:${key}`),
      port: this.#options.port(process),
      host: `${slug}.example.com`,
      patienceMs: random.chance(impatient) ? 1 + random.below(60) : undefined,
      giveUpMs
    })
    recorder.calls.push({ operation, tenant, slug, process, key, sent, done: performance.now(), ...answer })
  }
}

function requestOf (
  operation: Operation,
  key: string,
  value: string
): Pick<Request, 'method' | 'path' | 'body'> {
  switch (operation) {
    case 'write':
      return { method: 'POST', path: '/entries', body: { key, value } }
    case 'transfer':
    case 'failing transfer':
      return { method: 'POST', path: '/transfers', body: { key, value, fails: operation !== 'transfer' } }
    case 'read':
      return { method: 'GET', path: '/entries' }
    case 'value':
      return { method: 'GET', path: `/value/v${key.length}` }
    case 'staged':
      return { method: 'GET', path: `/staged/${key}` }
    case 'mark':
      return { method: 'GET', path: '/mark' }
    case 'me':
      return { method: 'GET', path: '/me' }
  }
}
