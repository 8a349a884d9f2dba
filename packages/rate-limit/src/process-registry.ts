import { processesKey } from '@fastify-tenancy/core/keys'
import { defineScript, type RedisScript, type TenancyRedis } from '@fastify-tenancy/redis'
import { randomUUID } from 'node:crypto'

const beat = 5_000
const gone = 15_000

/**
 * Registers a process and counts all. KEYS: the sorted set of processes by last heartbeat. ARGV:
 * this process, expiry in ms, 1 to unregister.
 */
const census: RedisScript = defineScript(`
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if ARGV[3] == '1' then
  redis.call('ZREM', KEYS[1], ARGV[1])
else
  redis.call('ZADD', KEYS[1], now, ARGV[1])
end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return redis.call('ZCARD', KEYS[1])
`)

/**
 * Counts the processes that use this Redis, so that each can take its share of a limit during an
 * outage. The last count stays valid during the outage. It is 1 in a process that has never reached
 * Redis.
 *
 * A lower count is accepted only after 15 s, because in a restarted, empty Redis the first process
 * sees only itself.
 */
export class ProcessRegistry {
  readonly #redis: TenancyRedis
  readonly #name = randomUUID()
  #timer: NodeJS.Timeout | undefined
  readonly #now: () => number
  #count = 1
  #counted = Number.NEGATIVE_INFINITY

  constructor (redis: TenancyRedis, now: () => number = () => performance.now()) {
    this.#redis = redis
    this.#now = now
  }

  get count (): number {
    return this.#count
  }

  /** Counts now and every 5 s. */
  async start (): Promise<void> {
    this.#timer = setInterval(() => {
      void this.take()
    }, beat).unref()
    await this.take()
  }

  async stop (): Promise<void> {
    clearInterval(this.#timer)
    await this.#redis.run(census, [processesKey], [this.#name, gone, 1]).catch(() => {})
  }

  /** Registers this process and counts once. */
  async take (): Promise<void> {
    try {
      const count = Number(await this.#redis.run(census, [processesKey], [this.#name, gone, 0]))
      const now = this.#now()
      if (count < this.#count && now - this.#counted < gone) return
      this.#count = count
      this.#counted = now
    } catch {
      // Redis is away; the limiter reports the outage.
    }
  }
}
