import type { ScopeLogger, TenantUsage, UsageReport } from '@fastify-tenancy/core'
import { Seal, usageAnswerChannel, usageChannel } from '@fastify-tenancy/core/keys'
import { addUsage, UsageMeter } from '@fastify-tenancy/core/usage'
import { randomBytes } from 'node:crypto'
import { hostname } from 'node:os'
import { setTimeout as sleep } from 'node:timers/promises'
import * as v from 'valibot'

import type { TenancyRedis } from './port.ts'

/** Tenants in the answer of one process. */
const most = 100

/**
 * Requests that one process answers at the same time. A cap is needed, because any client of Redis
 * can send them.
 */
const mostQuestions = 4

/** Milliseconds that an answer may take after the counting, and for which a message is valid. */
const answerWithin = 2_000
const genuineFor = 120_000

const count = v.pipe(v.number(), v.finite(), v.minValue(0))
const text = v.pipe(v.string(), v.maxLength(100))

const usage = v.object({
  id: text,
  slug: text,
  requests: count,
  refusals: count,
  statements: count,
  failedStatements: count,
  databaseTime: count,
  databaseWait: count,
  rows: count,
  cacheHits: count,
  cacheMisses: count
})

const questionSchema = v.object({
  question: v.pipe(v.string(), v.regex(/^[\w-]{16,64}$/)),
  seconds: v.pipe(v.number(), v.minValue(0), v.maxValue(60))
})

const answerSchema = v.object({
  process: text,
  since: count,
  tenants: v.pipe(v.array(usage), v.maxLength(most)),
  other: usage,
  none: usage
})

/** The counts of several processes for the same seconds. */
export interface FleetUsage extends UsageReport {
  readonly seconds: number
  /** `<host> <pid>` of each process that answered. */
  readonly processes: readonly string[]
}

/**
 * The secrets that sign requests and answers, so that messages of other clients of Redis are
 * ignored.
 */
export interface UsageSecrets {
  /** `options.rls.secret`; empty if contexts are not signed. */
  readonly secrets: readonly string[]
}

/**
 * Answers `tenancy top`: counts for as long as a request asks, and publishes the counts. Before a
 * request nothing is counted.
 *
 * @returns the function that ends it
 */
export async function answerUsage (
  redis: TenancyRedis,
  { secrets, log }: UsageSecrets & { readonly log: ScopeLogger }
): Promise<() => Promise<void>> {
  const envelope = envelopeOf(redis, secrets)
  const ended = new AbortController()
  let questions = 0
  const answer = async (message: string): Promise<void> => {
    const asked = parse(questionSchema, envelope.open(usageChannel, message))
    if (asked === undefined || questions >= mostQuestions) return
    questions++
    const meter = new UsageMeter()
    const stop = meter.start()
    try {
      await sleep(asked.seconds * 1_000, undefined, { signal: ended.signal, ref: false })
      const report = { process: `${hostname().slice(0, 60)} ${process.pid}`, ...meter.report(most) }
      const channel = usageAnswerChannel(asked.question)
      await redis.publish(channel, envelope.close(channel, JSON.stringify(report)))
    } catch (error) {
      if (!ended.signal.aborted) log.warn({ err: error }, 'the usage of tenants could not be published')
    } finally {
      stop()
      questions--
    }
  }
  const unsubscribe = await redis.subscribe(usageChannel, message => void answer(message), () => {})
  return async () => {
    ended.abort()
    await unsubscribe()
  }
}

/**
 * Asks the running processes to count the usage of tenants for some seconds, and adds up their
 * answers.
 *
 * @throws FST_TENANCY_REDIS_UNAVAILABLE
 */
export async function askUsage (
  redis: TenancyRedis,
  { secrets, seconds, top, signal }: UsageSecrets & {
    readonly seconds: number
    readonly top: number
    readonly signal?: AbortSignal | undefined
  }
): Promise<FleetUsage> {
  const envelope = envelopeOf(redis, secrets)
  const question = randomBytes(18).toString('base64url')
  const channel = usageAnswerChannel(question)
  const answers: v.InferOutput<typeof answerSchema>[] = []
  await redis.ready()
  const unsubscribe = await redis.subscribe(channel, message => {
    const answer = parse(answerSchema, envelope.open(channel, message))
    if (answer !== undefined) answers.push(answer)
  }, () => {})
  try {
    await redis.publish(usageChannel, envelope.close(usageChannel, JSON.stringify({ question, seconds })))
    await sleep(seconds * 1_000 + answerWithin, undefined, { signal })
  } finally {
    await unsubscribe()
  }
  return { seconds, processes: answers.map(({ process }) => process), ...sum(answers, top) }
}

function sum (reports: readonly UsageReport[], top: number): UsageReport {
  const tenants = new Map<string, TenantUsage>()
  const [other, none] = [{ ...zero }, { ...zero }]
  for (const report of reports) {
    addUsage(other, report.other)
    addUsage(none, report.none)
    for (const each of report.tenants) {
      const known = { ...zero, ...tenants.get(each.id), id: each.id, slug: each.slug }
      addUsage(known, each)
      tenants.set(each.id, known)
    }
  }
  const sorted = [...tenants.values()].toSorted((a, b) =>
    b.databaseTime - a.databaseTime || b.refusals - a.refusals || b.requests - a.requests
  )
  for (const less of sorted.slice(top)) addUsage(other, less)
  return {
    since: Math.min(Date.now(), ...reports.map(({ since }) => since)),
    tenants: sorted.slice(0, top),
    other,
    none
  }
}

const zero: TenantUsage = {
  id: '',
  slug: '',
  requests: 0,
  refusals: 0,
  statements: 0,
  failedStatements: 0,
  databaseTime: 0,
  databaseWait: 0,
  rows: 0,
  cacheHits: 0,
  cacheMisses: 0
}

/** Signs and checks messages if there are secrets, else passes them unchanged. */
interface Envelope {
  close(channel: string, value: string): string
  open(channel: string, message: string): string | undefined
}

function envelopeOf ({ namespace }: TenancyRedis, secrets: readonly string[]): Envelope {
  if (secrets.length === 0) return { close: (_, value) => value, open: (_, message) => message }
  const seal = new Seal(secrets, 'usage', namespace)
  return {
    close: (channel, value) => seal.wrap(channel, value, Date.now() + genuineFor),
    open: (channel, message) => seal.unwrap(channel, message)
  }
}

function parse<Schema extends v.GenericSchema> (
  schema: Schema,
  text: string | undefined
): v.InferOutput<Schema> | undefined {
  try {
    const { success, output } = v.safeParse(schema, JSON.parse(text ?? ''))
    return success ? output : undefined
  } catch {
    return undefined
  }
}
