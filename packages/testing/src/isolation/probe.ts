import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import type { FastifyRequest } from 'fastify'

const started = 'tracing:fastify.request.handler:start'

/** Records how the application handled one request of the kit. */
export class Probe {
  /**
   * Ids that Fastify gave to the request. They come from a counter of the process, so they are not
   * values of a tenant.
   */
  readonly ids: Set<string> = new Set()
  /** Whether a handler of the application ran. */
  isHandled = false
  /** Names of the query, headers and body that the application read: `'variables.id'`. */
  readonly reads: { readonly query: Set<string>; readonly headers: Set<string>; readonly body: Set<string> } =
    { query: new Set(), headers: new Set(), body: new Set() }
  readonly #isRecording: boolean

  /** @param isRecording whether reads are recorded */
  constructor (isRecording: boolean) {
    this.#isRecording = isRecording
  }

  /** Called by the application's first onRequest hook. */
  enter (request: FastifyRequest): void {
    this.ids.add(String(request.id))
    if (!this.#isRecording) return
    request.query = recording(request.query, this.reads.query)
    request.raw.headers = recording(request.raw.headers, this.reads.headers) as typeof request.raw.headers
  }

  /** Called when the handler of the request is about to run. */
  handle (request: FastifyRequest): void {
    this.isHandled = true
    if (this.#isRecording) request.body = recording(request.body, this.reads.body)
  }
}

/**
 * Calls `listener` before each handler of any application in this process. @returns the function
 * that ends it
 */
export function watchHandlers (listener: (request: FastifyRequest) => void): () => void {
  const onStart = (message: unknown): void => listener((message as { request: FastifyRequest }).request)
  subscribe(started, onStart)
  return () => {
    unsubscribe(started, onStart)
  }
}

/** Returns a proxy of plain data that records each property read, at any depth. */
function recording<T> (value: T, reads: Set<string>, path = ''): T {
  if (typeof value !== 'object' || value === null || !isPlain(value)) return value
  return new Proxy(value, {
    get (target, name, receiver) {
      const member: unknown = Reflect.get(target, name, receiver)
      if (typeof name === 'symbol' || name in Object.prototype || Array.isArray(target)) return member
      reads.add(path + name)
      return recording(member, reads, `${path}${name}.`)
    },
    has (target, name) {
      if (typeof name === 'string') reads.add(path + name)
      return Reflect.has(target, name)
    }
  })
}

function isPlain (value: object): boolean {
  const prototype: unknown = Object.getPrototypeOf(value)
  return prototype === null || prototype === Object.prototype ||
    Object.getPrototypeOf(prototype as object) === null
}
