import type { InjectOptions } from 'fastify'
import { PassThrough, type Readable } from 'node:stream'

import { addressed, type Authenticate } from './addressed.ts'
import type { Application } from './application.ts'
import type { Identity } from './identity.ts'
import { LiveConnection } from './live.ts'
import { Probe, watchHandlers } from './probe.ts'
import { textOf } from './readings.ts'
import type { CapturedReply } from './reply.ts'
import { urlOf, type Draft } from './request.ts'
import { wiringOf, type Route, type Wiring } from './route-table.ts'

/** Milliseconds until the reply of a handler must begin. */
const answerWithinMs = 5_000
/** Milliseconds without data after which a reply counts as live. */
const endWithinMs = 2_000
/** Milliseconds of silence after which an event stream has sent its initial events. */
export const quietMs = 50

/** A request of the kit and its reply. */
export interface Sent {
  readonly route: string
  /** `POST /projects {"name":"…"} as the attacker` */
  readonly request: string
  /** Everything that was sent, to distinguish an echo from a leak. */
  readonly text: string
  readonly reply: CapturedReply
  readonly probe: Probe
  /** The connection, if the reply continues and the caller asked to keep it. */
  readonly live: LiveConnection | undefined
}

/** Sends requests as one of the tenants, one after another. */
export class Sender {
  readonly #app: Application
  readonly #wiring: Wiring
  readonly #authenticate: Authenticate | undefined
  readonly #stop: () => void
  /** The texts of the last requests, because a log line may be written after the reply. */
  readonly recent: string[] = []
  count = 0

  constructor (app: Application, authenticate: Authenticate | undefined) {
    this.#app = app
    this.#wiring = wiringOf(app)
    this.#authenticate = authenticate
    this.#stop = watchHandlers(request => this.#wiring.probe?.handle(request))
  }

  get hasAuthentication (): boolean {
    return this.#authenticate !== undefined
  }

  stop (): void {
    this.#stop()
    this.#wiring.probe = undefined
  }

  /**
   * @param options `keep` leaves a live reply open; `record` records which parts of the request the
   * application reads
   */
  async send (
    who: Identity,
    route: Route,
    draft: Draft,
    options: { readonly keep?: boolean; readonly record?: boolean } = {}
  ): Promise<Sent> {
    const request = await this.#requestOf(who, route, draft)
    const body = draft.hasBody && draft.body !== undefined ? bodyOf(draft) : undefined
    const name = requestName(route)
    const text = [String(request.url), ...Object.values(request.headers ?? {}).map(String), body ?? ''].join(
      '\n'
    )
    who.others?.giveAway(text)
    this.recent.push(text)
    if (this.recent.length > 4) this.recent.shift()
    this.count++
    const probe = new Probe(options.record === true)
    this.#wiring.probe = probe
    const { reply, live } = await this.#exchange(
      request,
      body,
      `${name} as the ${who.role}`,
      options.keep === true
    )
    const extra = Object.entries(draft.headers).map(([header, value]) => ` ${header}: ${String(value)}`).join(
      ''
    )
    return {
      route: name,
      request: `${route.method} ${String(request.url)}${extra}${
        body === undefined ? '' : ` ${body.slice(0, 300)}`
      } as the ${who.role}`,
      text,
      reply,
      probe,
      live
    }
  }

  /** Opens a websocket. @returns why it was refused, if it was */
  async open (who: Identity, route: Route, draft: Draft): Promise<LiveConnection | string> {
    const { injectWS } = this.#app as unknown as {
      injectWS?: (
        url: string,
        request: object,
        options: object
      ) => Promise<ConstructorParameters<typeof LiveConnection>[1] & object>
    }
    if (injectWS === undefined) return 'the application has no injectWS(): register @fastify/websocket'
    const { url, headers } = await this.#requestOf(who, route, draft)
    const probe = new Probe(false)
    this.#wiring.probe = probe
    const where = requestName(route)
    let live: LiveConnection | undefined
    try {
      // Listen from the start, because the first message may arrive with the reply to the upgrade.
      const context = {
        headers,
        rawHeaders: Object.entries(headers ?? {}).flatMap(([header, value]) => [header, String(value)]),
        httpVersionMajor: 1,
        httpVersionMinor: 1,
        socket: Object.assign(new PassThrough(), { remoteAddress: '127.0.0.1' })
      }
      const opening = injectWS.call(this.#app, String(url), context, {
        onInit (socket: never) {
          live = new LiveConnection(where, { socket })
        }
      })
      const late = Promise.withResolvers<never>()
      const timer = setTimeout(
        () => late.reject(new Error(`it did not open within ${answerWithinMs} ms`)),
        answerWithinMs
      )
      await Promise.race([opening, late.promise]).finally(() => clearTimeout(timer))
      return live ?? 'the websocket did not open'
    } catch (error) {
      return error instanceof Error ? error.message : String(error)
    }
  }

  async #requestOf (who: Identity, route: Route, draft: Draft): Promise<InjectOptions> {
    const { params } = this.#app.tenantResolver.addressOf(who.tenant)
    const own = Object.fromEntries(Object.entries(params ?? {}).filter(([name]) => !isForged(draft, name)))
    const url = urlOf(route, { ...draft, params: { ...draft.params, ...own } })
    const { version, host } = route.constraints
    const headers = {
      ...(draft.hasBody && { 'content-type': 'application/json' }),
      ...(typeof version === 'string' && { 'accept-version': version }),
      ...(typeof host === 'string' && { host }),
      ...draft.headers
    }
    const method = route.method as InjectOptions['method'] & string
    return addressed(
      this.#app,
      who.tenant,
      { method, url, headers: headers as Record<string, string> },
      this.#authenticate
    )
  }

  async #exchange (
    request: InjectOptions,
    body: string | undefined,
    where: string,
    keep: boolean
  ): Promise<{ reply: CapturedReply; live: LiveConnection | undefined }> {
    const controller = new AbortController()
    const timer = setTimeout(() => controller.abort(), answerWithinMs)
    try {
      const response = await this.#app.inject({
        ...request,
        ...(body !== undefined && { payload: body }),
        payloadAsStream: true,
        signal: controller.signal
      })
      clearTimeout(timer)
      const headers = Object.fromEntries(
        Object.entries(response.headers).map((
          [name, value]
        ) => [name, Array.isArray(value) ? value.join('\n') : String(value)])
      )
      const isEvents = /event-stream/.test(headers['content-type'] ?? '')
      const stream = response.stream()
      const { bytes, hasEnded } = await read(stream, isEvents ? quietMs : endWithinMs)
      for (const [name, value] of Object.entries(response.trailers))
        headers[`trailer ${name}`] = String(value)
      const reply = { status: response.statusCode, headers, body: textOf(bytes), isLive: !hasEnded }
      if (!hasEnded && keep) return { reply, live: new LiveConnection(where, { stream, first: '' }) }
      if (!hasEnded) stream.destroy()
      return { reply, live: undefined }
    } catch (error) {
      clearTimeout(timer)
      const message = controller.signal.aborted ? `no reply within ${answerWithinMs} ms` : String(error)
      return { reply: { status: 0, headers: {}, body: message, isLive: false }, live: undefined }
    }
  }
}

/** `GET /projects/:id` */
export function requestName ({ method, url }: Route): string {
  return `${method} ${url || '/'}`
}

const forged = Symbol('forged')

/** Returns a draft whose route parameter names another tenant than the sender's address. */
export function forge (draft: Draft, name: string): Draft {
  return Object.assign({ ...draft }, { [forged]: name })
}

function isForged (draft: Draft, name: string): boolean {
  return (draft as unknown as Record<symbol, unknown>)[forged] === name
}

function bodyOf ({ body, headers }: Draft): string {
  const isJson = /json/.test(String(headers['content-type'] ?? 'application/json'))
  return typeof body === 'string' && !isJson ? body : JSON.stringify(body)
}

async function read (stream: Readable, quiet: number): Promise<{ bytes: Buffer; hasEnded: boolean }> {
  const chunks: Buffer[] = []
  const { promise, resolve } = Promise.withResolvers<boolean>()
  let timer = setTimeout(resolve, quiet, false)
  stream.on('data', (chunk: Buffer) => {
    chunks.push(chunk)
    clearTimeout(timer)
    timer = setTimeout(resolve, quiet, false)
  })
  for (const event of ['end', 'error', 'close']) stream.on(event, () => resolve(true))
  const hasEnded = await promise
  clearTimeout(timer)
  stream.removeAllListeners('data')
  return { bytes: Buffer.concat(chunks), hasEnded }
}
