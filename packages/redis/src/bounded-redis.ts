import type { ScopeLogger } from '@fastify-tenancy/core'
import type { Redis, Cluster } from 'ioredis'

import { Breaker } from './breaker.ts'
import { afterCurrentTick } from './current-tick.ts'
import { Deadlines, withDeadline, type Deadline } from './deadline.ts'
import { RedisUnavailableError } from './errors.ts'
import type { TenancyRedis, RedisHealth, RedisState } from './port.ts'
import { reasonOf, isReply, judge } from './reply.ts'
import type { RedisScript } from './script.ts'
import { inOneSlot, slotGroups } from './slots.ts'
import { Subscriber } from './subscriber.ts'

/** Deadline of a command in milliseconds, unless the options of an own client set another. */
const defaultTimeout = 100
/**
 * Milliseconds of silence after a late command until an own connection is replaced. After a lost
 * route, TCP alone waits for minutes.
 */
export const defaultSilence: number = 5_000
/**
 * Time budget in ms for the first connection, shared by all callers of `ready()` and `subscribe()`,
 * counted from the first such call.
 */
const readyWithin = 2_000
/** Milliseconds for which a refused command shows in `state()`. */
const shownFor = 10_000

/** A client within bounds: deadlines, a breaker, one write for the commands of a tick. */
export class BoundedRedis implements TenancyRedis {
  readonly #client: Redis | Cluster
  readonly #isOwn: boolean
  readonly #timeout: number
  readonly #silence: number
  #silent: NodeJS.Timeout | undefined
  readonly #breaker = new Breaker()
  readonly #deadlines: Deadlines
  #isGathering = false
  /** Commands without a reply, including those past their deadline. */
  #inFlight = 0
  readonly #prefix: string
  readonly #subscriber: Subscriber
  #readyBy: number | undefined
  readonly #log: ScopeLogger
  /** Why the connection was lost or refused; undefined while it is open. */
  #lost: string | undefined
  /** Reasons of refused logins logged since the connection was last open. */
  readonly #logged = new Set<string>()
  /** The last failure that the breaker counted, and the last refused command. */
  #failure = 'unreachable'
  #refusal: { readonly reason: string; readonly until: number } | undefined

  constructor (
    client: Redis | Cluster,
    isOwn: boolean,
    log: ScopeLogger,
    timeout: number = defaultTimeout,
    silence: number = defaultSilence
  ) {
    this.#client = client
    this.#isOwn = isOwn
    this.#timeout = timeout
    this.#silence = silence
    this.#deadlines = new Deadlines(timeout)
    this.#prefix = client.options.keyPrefix ?? ''
    this.#log = log
    this.#subscriber = new Subscriber(
      client,
      this.#prefix,
      () => client.status === 'ready' ? readyWithin : this.#timeoutMs,
      {
        refused: (channel, error) => {
          const text = 'Redis refuses this login the channel, so messages of other processes are missed: ' +
            'grant the login the channel'
          log.warn({ channel, reason: reasonOf(error), error: error.message }, text)
        },
        accepted: channel => {
          log.info({ channel }, 'Redis allows this login the channel again')
        }
      }
    )
    client.on('error', (error: Error) => {
      this.#connectionFailed(error)
    }).on('ready', () => {
      this.#connected()
    })
    if (isOwn)
      client.on('connect', () => {
        this.#awaitSignOfLife(silence)
      }).on('ready', this.#heard).on('close', this.#heard)
    if (client.status === 'wait') client.connect().catch(() => {}) // created with lazyConnect
  }

  get isAvailable (): boolean {
    return this.#client.status === 'ready' && this.#breaker.isPassable
  }

  get isCluster (): boolean {
    return this.#client.isCluster
  }

  get (key: string): Promise<string | null> {
    return this.#send(client => client.get(key))
  }

  mget (keys: readonly string[]): Promise<(string | null)[]> {
    if (keys.length === 0) return Promise.resolve([])
    if (!this.#client.isCluster || inOneSlot(keys)) return this.#send(client => client.mget(...keys))
    return this.#mgetOverSlots(keys)
  }

  async set (key: string, value: string, ttl?: number): Promise<void> {
    await this.#send(client =>
      ttl === undefined ? client.set(key, value) : client.set(key, value, 'PX', Math.ceil(ttl))
    )
  }

  async del (...keys: string[]): Promise<number> {
    if (keys.length === 0) return 0
    const groups = this.#client.isCluster ? slotGroups(keys) : [keys]
    const counts = await Promise.all(groups.map(group => this.#send(client => client.del(...group))))
    return counts.reduce((sum, count) => sum + count, 0)
  }

  run (script: RedisScript, keys: readonly string[], args: readonly (string | number)[]): Promise<unknown> {
    return this.#send(
      client => client.evalsha(script.sha, keys.length, ...keys, ...args),
      client => client.eval(script.lua, keys.length, ...keys, ...args)
    )
  }

  async removeAll (prefix: string): Promise<number> {
    // On a Cluster every master is scanned, because each holds only its own keys.
    const nodes = this.#client.isCluster ? (this.#client as Cluster).nodes('master') : [this.#client as Redis]
    const counts = await Promise.all(nodes.map(node => this.#removeFrom(node, prefix)))
    return counts.reduce((sum, count) => sum + count, 0)
  }

  async publish (channel: string, message: string): Promise<void> {
    await this.#send(client => client.publish(this.#prefix + channel, message))
  }

  subscribe (
    channel: string,
    onMessage: (message: string) => void,
    onGap: () => void
  ): Promise<() => Promise<void>> {
    return this.#subscriber.subscribe(channel, onMessage, onGap)
  }

  ready (): Promise<void> {
    const client = this.#client
    if (client.status === 'ready') return Promise.resolve()
    return new Promise(resolve => {
      const timer = setTimeout(settle, this.#timeoutMs)
      function settle (): void {
        clearTimeout(timer)
        client.off('ready', settle)
        resolve()
      }
      client.once('ready', settle)
    })
  }

  health (): RedisHealth {
    const { status, breaker } = this.state()
    return { status, breaker }
  }

  state (): RedisState {
    const breaker = this.#breaker.state
    const messages = this.#subscriber.state
    const found = (status: RedisState['status'], reason: string | undefined): RedisState => ({
      status,
      breaker,
      reason,
      messages
    })
    const refusal = this.#refusal !== undefined && performance.now() < this.#refusal.until
      ? this.#refusal.reason
      : undefined
    if (this.#client.status !== 'ready') return found('down', this.#lost ?? refusal ?? 'unreachable')
    if (breaker === 'open') return found('down', this.#failure)
    if (this.#breaker.isShaken) return found('degraded', this.#failure)
    if (refusal !== undefined) return found('degraded', refusal)
    return messages === 'missed' ? found('degraded', this.#subscriber.reason) : found('ok', undefined)
  }

  async close (): Promise<void> {
    this.#subscriber.close()
    if (!this.#isOwn) return
    if (this.#client.status === 'ready')
      await withDeadline(this.#client.quit(), this.#timeout).catch(() => {})
    this.#client.disconnect()
  }

  // One budget for all callers. With a budget each, an application with many parts would take a
  // multiple of it to boot.
  get #timeoutMs (): number {
    this.#readyBy ??= performance.now() + readyWithin
    return Math.max(0, this.#readyBy - performance.now())
  }

  async #mgetOverSlots (keys: readonly string[]): Promise<(string | null)[]> {
    const found = new Map<string, string | null>()
    await Promise.all(
      slotGroups(keys).map(async group => {
        const values = await this.#send(client => client.mget(...group))
        for (const [at, key] of group.entries()) found.set(key, values[at] ?? null)
      })
    )
    return keys.map(key => found.get(key) ?? null)
  }

  async #removeFrom (node: Redis, prefix: string): Promise<number> {
    const glob = `${(this.#prefix + prefix).replace(/[\\*?[\]^-]/g, String.raw`\$&`)}*`
    let removed = 0
    let cursor = '0'
    do {
      const [next, found] = await this.#send(() => node.scan(cursor, 'MATCH', glob, 'COUNT', 1_000))
      // `unlink` adds the client's key prefix again, so it is removed here.
      for (const group of slotGroups(found.map(key => key.slice(this.#prefix.length))))
        removed += await this.#send(client => client.unlink(...group))
      cursor = next
    } while (cursor !== '0')
    return removed
  }

  /**
   * Sends a command. Uses one promise and no async function, because every command of every request
   * passes here.
   *
   * @param whole sent instead if the server does not know the script. Nothing has run then, so it
   * cannot take effect twice.
   */
  #send<T> (
    command: (client: Redis | Cluster) => Promise<T>,
    whole?: (client: Redis | Cluster) => Promise<T>
  ): Promise<T> {
    // Check first, because a client with an offline queue would keep the command and send it after
    // its caller has stopped waiting.
    if (this.#client.status !== 'ready' || !this.#breaker.tryPass())
      return Promise.reject(new RedisUnavailableError())
    return new Promise((resolve, reject) => {
      const deadline = this.#deadlines.start(error => {
        this.#awaitSignOfLife(Math.max(0, this.#silence - this.#timeout))
        reject(this.#failed(error))
      })
      this.#gather()
      this.#inFlight++
      command(this.#client).then(
        reply => resolve(this.#answered(reply, deadline)),
        (error: unknown) => {
          this.#inFlight--
          if (this.#silent !== undefined && isReply(error)) this.#heard()
          if (!deadline.met()) return
          const failure = this.#failed(error)
          if (whole !== undefined && isReply(error) && error.message.startsWith('NOSCRIPT'))
            resolve(this.#send(whole))
          else reject(failure)
        }
      )
    })
  }

  /**
   * Corks the socket so that several commands leave in one write; separate writes dominate their
   * cost. If no command is in flight, uncork on `nextTick`, so a sequential caller is not delayed
   * (auto-pipelining halves its throughput). Otherwise uncork at the end of the tick.
   */
  #gather (): void {
    if (this.#isGathering || this.#client.isCluster) return
    const { stream } = this.#client as Redis
    this.#isGathering = true
    stream.cork()
    const send = (): void => {
      this.#isGathering = false
      stream.uncork()
    }
    if (this.#inFlight === 0) process.nextTick(send)
    else afterCurrentTick(send)
  }

  #answered<T> (reply: T, deadline: Deadline): T {
    this.#inFlight--
    deadline.met()
    if (this.#silent !== undefined) this.#heard()
    this.#breaker.succeed()
    return reply
  }

  /**
   * Replaces an own connection that stays silent after connecting or after a late reply, unless
   * data arrives within `milliseconds`.
   */
  #awaitSignOfLife (milliseconds: number): void {
    if (!this.#isOwn || this.#silent !== undefined) return
    this.#silent = setTimeout(() => {
      this.#heard()
      if (['connect', 'ready'].includes(this.#client.status)) (this.#client as Redis).disconnect(true)
    }, milliseconds).unref()
  }

  readonly #heard = (): void => {
    clearTimeout(this.#silent)
    this.#silent = undefined
  }

  /**
   * Returns the error for the caller of a failed command. The breaker counts the failure unless
   * Redis answered the command.
   */
  #failed (error: unknown): unknown {
    const judgement = isReply(error) ? judge(error) : 'outage'
    if (judgement === 'outage') {
      this.#failure = reasonOf(error)
      this.#breaker.fail()
    } else {
      this.#breaker.succeed()
    }
    if (judgement === 'mistake') return error
    if (judgement === 'refusal')
      this.#refusal = { reason: reasonOf(error), until: performance.now() + shownFor }
    return new RedisUnavailableError(undefined, { cause: error })
  }

  #connectionFailed (error: Error): void {
    this.#lost = reasonOf(error)
    const reply = isReply(error) ? error : (error as { readonly lastNodeError?: unknown }).lastNodeError
    if (!isReply(reply) || judge(reply) === 'outage' || this.#logged.has(this.#lost)) return
    this.#logged.add(this.#lost)
    const text =
      'Redis refuses the login: correct the user name, the password or the rights in the option redis'
    this.#log.warn({ reason: this.#lost, error: reply.message }, text)
  }

  /** A new connection may be to another server and has the permissions of a new login. */
  #connected (): void {
    this.#lost = undefined
    this.#refusal = undefined
    this.#logged.clear()
  }
}
