import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import type { ClientRequest } from 'node:http'

/**
 * Older versions of Node have only the second event, which is published when the head and a short
 * body are sent.
 */
const events = ['http.client.request.created', 'http.client.request.start']

/**
 * Calls `listener` with the text of each HTTP request that this process sends. @returns the
 * function that ends it
 */
export function watchOutgoing (listener: (text: string) => void): () => void {
  const realFetch = globalThis.fetch
  const watched: typeof fetch = async (input, init) => {
    listener(await textOfFetch(input, init))
    return realFetch(input, init)
  }
  globalThis.fetch = watched
  const seen = new WeakSet<ClientRequest>()
  const onRequest = (message: unknown): void => {
    const { request } = message as { request: ClientRequest }
    if (!seen.has(request)) watchRequest(request, listener)
    seen.add(request)
  }
  const onUndici = (message: unknown): void =>
    listener(textOfUndici((message as { request: object }).request))
  for (const event of events) subscribe(event, onRequest)
  subscribe('undici:request:create', onUndici)
  return () => {
    if (globalThis.fetch === watched) globalThis.fetch = realFetch
    for (const event of events) unsubscribe(event, onRequest)
    unsubscribe('undici:request:create', onUndici)
  }
}

async function textOfFetch (input: string | URL | Request, init: RequestInit | undefined): Promise<string> {
  const isRequest = typeof input === 'object' && 'clone' in input
  const body = init?.body ?? undefined
  const text = typeof body === 'string' || body instanceof URLSearchParams
    ? String(body)
    : body instanceof Uint8Array
    ? Buffer.from(body).toString()
    : body === undefined && isRequest
    ? await input.clone().text()
    : ''
  const headers = [...new Headers(init?.headers ?? (isRequest ? input.headers : undefined))]
  return `${isRequest ? input.url : String(input)}\n${JSON.stringify(headers)}\n${text}`
}

function watchRequest (request: ClientRequest, listener: (text: string) => void): void {
  const { method, host, path } = request
  const parts = [`${method} ${host}${path}`, JSON.stringify(request.getHeaders())]
  listener(parts.join('\n'))
  for (const name of ['write', 'end'] as const) {
    const real = request[name] as (...values: unknown[]) => unknown
    Object.assign(request, {
      [name]: (...values: unknown[]) => {
        if (typeof values[0] === 'string' || values[0] instanceof Uint8Array)
          listener(`${parts[0]}\n${Buffer.from(values[0] as string).toString()}`)
        return Reflect.apply(real, request, values)
      }
    })
  }
}

function textOfUndici (request: object): string {
  const { origin, path, headers, body } = request as Record<string, unknown>
  const text = typeof body === 'string' || Buffer.isBuffer(body) ? String(body) : ''
  return `${String(origin)}${String(path)}\n${String(headers)}\n${text}`
}
