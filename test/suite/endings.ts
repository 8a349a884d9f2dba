// How a request can end: kinds of return values and errors, the places where they occur, and what a
// client sees.
import Fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { Agent, request as open, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Readable } from 'node:stream'
import { runInNewContext } from 'node:vm'

/** What a client sees, and which error handlers ran. */
export interface Ending {
  readonly status: number | undefined
  readonly body: string
  /** Whether the connection was cut before the reply was complete. */
  readonly isCut: boolean
  readonly calls: readonly string[]
}

interface Kind {
  /** Returns the value of the ending, or throws. */
  make(reply: FastifyReply): unknown
  /** False for endings that only a handler can produce. */
  readonly isForHooks?: boolean
  /** True if the thrown value is not an error for Fastify. */
  readonly isNoError?: boolean
}

const fail = (error: unknown): never => {
  throw error
}
const failing = async function* (chunks: readonly string[]): AsyncGenerator<string> {
  yield* chunks
  // The first chunk has been sent by then.
  if (chunks.length > 0) await new Promise(resolve => setImmediate(resolve))
  throw new Error('the source failed')
}
const webStream = (start: (controller: ReadableStreamDefaultController) => void): ReadableStream =>
  new ReadableStream({ start })
const foreignError: Error = runInNewContext('Object.assign(new Error("another realm"), { statusCode: 418 })')
const consumed = (): Response => {
  const response = new Response('consumed')
  void response.text()
  return response
}
const locked = (): ReadableStream => {
  const stream = webStream(controller => {
    controller.enqueue(Buffer.from('locked'))
  })
  stream.getReader()
  return stream
}
// Sends the reply and returns undefined, so that Fastify does not send it a second time.
const sendOnly = (reply: FastifyReply, payload: unknown): undefined => {
  void reply.send(payload)
}

/** Each kind runs in every place. A new kind needs one entry here. */
export const kinds: Readonly<Record<string, Kind>> = {
  'an object': { make: () => ({ a: 1 }) },
  'an object with a status': {
    make: reply => {
      reply.code(409)
      return { a: 1 }
    }
  },
  'a string': { make: () => 'text' },
  'a buffer': { make: () => Buffer.from('bytes') },
  null: { make: () => null },
  'a 204': {
    make: reply => {
      reply.code(204)
      return null
    }
  },
  'a stream': { make: () => Readable.from(['one', 'two', 'three']) },
  'an empty stream': { make: () => Readable.from([]) },
  'a stream with a bad status': {
    make: reply => {
      reply.code(422)
      return Readable.from(['one', 'two'])
    }
  },
  'a stream that fails before its first byte': { make: () => Readable.from(failing([])) },
  'a stream that was destroyed': {
    make: () => new Readable({ read () {} }).on('error', () => {}).destroy(new Error('destroyed'))
  },
  'a stream that fails at once': {
    make: () =>
      new Readable({
        read () {
          this.destroy(new Error('at once'))
        }
      })
  },
  'a stream that fails after its first byte': { make: () => Readable.from(failing(['one'])) },
  'a web stream': {
    make: () =>
      webStream(controller => {
        controller.enqueue(Buffer.from('web'))
        controller.close()
      })
  },
  'a web stream that fails': {
    make: () =>
      webStream(controller => {
        controller.error(new Error('web failed'))
      })
  },
  'a locked web stream': { make: locked },
  'a Response': { make: () => new Response('response', { status: 201, headers: { 'x-own': 'yes' } }) },
  'a Response with a bad status': { make: () => new Response('conflict', { status: 409 }) },
  'a Response without a body': { make: () => new Response(null, { status: 202 }) },
  'a Response of an error': { make: () => Response.error() },
  'a Response that was read': { make: consumed },
  'a header that cannot be sent': {
    make: reply => {
      void reply.header('x-bad', 'a\nb')
      return 'text'
    }
  },
  'a header that cannot be sent, and a stream': {
    make: reply => {
      void reply.header('x-bad', 'a\nb')
      return Readable.from(['one'])
    }
  },
  'a payload of no known type': {
    make: reply => {
      void reply.type('application/x-own')
      return { a: 1 }
    }
  },
  'what cannot be serialized': { make: () => ({ a: 1n }) },
  'a trailer': {
    make: reply => {
      void reply.trailer('x-sum', (_reply, _payload, done) => {
        done(null, '1')
      })
      return 'text'
    }
  },
  'an error': { make: () => fail(new Error('thrown')) },
  'an error with a status': {
    make: () => fail(Object.assign(new Error('teapot'), { statusCode: 418, code: 'TEA' }))
  },
  'an error with headers': {
    make: () => fail(Object.assign(new Error('later'), { statusCode: 503, headers: { 'retry-after': '7' } }))
  },
  'an error that is returned': { make: () => new Error('returned') },
  'an error of another realm': { make: () => fail(foreignError), isNoError: true },
  'a thrown object': { make: () => fail({ statusCode: 418, custom: true }), isNoError: true },
  'a thrown string': { make: () => fail('only text'), isNoError: true },
  'a thrown null': { make: () => fail(null), isNoError: true },
  'a thrown undefined': { make: () => fail(undefined), isNoError: true },
  'a thrown number': { make: () => fail(404), isNoError: true },
  'a thrown array': { make: () => fail([1, 2]), isNoError: true },
  'an error whose status is no status': {
    make: () => fail(Object.assign(new Error('odd'), { statusCode: 'high' }))
  },
  'an error after a good status': {
    make: reply => {
      reply.code(201)
      throw new Error('created')
    }
  },
  'a 304': {
    make: reply => {
      reply.code(304)
      return 'unchanged'
    }
  },
  'a typed array': { make: () => new Uint32Array([1, 2]) },
  'a wrong content-length': {
    make: reply => {
      void reply.header('content-length', 99)
      return 'text'
    }
  },
  'a header without a value': {
    make: reply => {
      reply.raw.setHeader('x-own', 'yes')
      void reply.header('x-none', undefined)
      return 'text'
    }
  },
  'a header name that cannot be sent': {
    make: reply => {
      void reply.header('bad name', 'x')
      return { a: 1 }
    }
  },
  'a frozen error': { make: () => fail(Object.freeze(new Error('frozen'))) },
  'an object that is sent, and nothing returned': {
    make: reply => sendOnly(reply, { a: 1 }),
    isForHooks: false
  },
  'an error that is sent, and nothing returned': {
    make: reply => sendOnly(reply, Object.assign(new Error('sent'), { statusCode: 409 })),
    isForHooks: false
  },
  'a stream that is sent and returned': {
    make: reply => reply.send(Readable.from(['one', 'two'])),
    isForHooks: false
  },
  'a not found': {
    make: reply => {
      reply.callNotFound()
    },
    isForHooks: false
  },
  'a redirect': { make: reply => reply.redirect('/elsewhere'), isForHooks: false }
}

/** The places where a kind of ending can occur. */
export const places = ['handler', 'preHandler', 'preSerialization', 'onSend', 'later onSend',
  'child'] as const
export type Place = typeof places[number]

type Write = (request: FastifyRequest) => Promise<unknown>
type Config = Record<string, unknown>

/** Adds the routes of every kind in every place. Only the child plugin has an error handler. */
export async function endingRoutes (
  app: FastifyInstance,
  config: Config,
  write: Write,
  calls: string[]
): Promise<void> {
  const note = (what: string) => async (_request: FastifyRequest, _reply: FastifyReply, error: unknown) => {
    calls.push(`${what} ${String(error)}`)
  }
  app.addHook('onError', note('onError'))
  await app.register(async child => {
    child.setErrorHandler((error: { statusCode?: number } | null, _request, reply) => {
      calls.push(`child ${String(error)}`)
      return reply.code(error?.statusCode ?? 500).send({ own: String(error) })
    })
    for (const [name, kind] of Object.entries(kinds)) {
      child.get(pathOf(name, 'child'), { config }, async (request, reply) => {
        await write(request)
        return kind.make(reply)
      })
    }
  })
  for (const [name, kind] of Object.entries(kinds)) {
    app.get(pathOf(name, 'handler'), { config }, async (request, reply) => {
      await write(request)
      return kind.make(reply)
    })
    if (kind.isForHooks === false) continue
    const object = async (request: FastifyRequest): Promise<object> => {
      await write(request)
      return { of: 'the handler' }
    }
    app.get(pathOf(name, 'preHandler'), {
      config,
      preHandler: async (request, reply) => {
        await write(request)
        return reply.send(kind.make(reply))
      }
    }, object)
    app.get(pathOf(name, 'preSerialization'), { config, preSerialization: inHook(kind, true) }, object)
    app.get(pathOf(name, 'onSend'), { config, onSend: inHook(kind) }, object)
    app.get(pathOf(name, 'later onSend'), { config: { ...config, later: kind } as Config }, object)
  }
}

type Hook = (request: FastifyRequest, reply: FastifyReply, payload: unknown) => Promise<unknown>

// A value that is not an error is thrown only once. If a hook threw it again with the reply for the
// first, Fastify itself would fail.
function inHook (kind: Kind, isOnce = kind.isNoError): Hook {
  const made = new WeakSet<FastifyRequest>()
  return async (request, reply, payload) => {
    if (isOnce && made.has(request)) return payload
    made.add(request)
    return kind.make(reply)
  }
}

/**
 * Adds hooks to each route, as compression plugins do. It is registered last, so its hooks run
 * after all others.
 */
export const laterPlugin = fp(async (app: FastifyInstance) => {
  app.addHook('onRoute', route => {
    const { later } = route.config as unknown as { later?: Kind }
    if (later !== undefined) route.onSend = [route.onSend ?? [], inHook(later)].flat()
  })
})

export function pathOf (kind: string, place: Place): string {
  return `/${`${place} ${kind}`.replaceAll(/[^a-z0-9]+/gi, '-')}`
}

/** An application without the suite. */
export async function bareApp (calls: string[]): Promise<FastifyInstance> {
  const app = Fastify()
  await app.register(laterPlugin)
  await endingRoutes(app, {}, async () => {}, calls)
  await app.listen({ port: 0, host: '127.0.0.1' })
  return app
}

/** Sends one request over a real connection. */
export async function end (app: FastifyInstance, path: string, calls: string[]): Promise<Ending> {
  calls.length = 0
  const { port } = app.server.address() as AddressInfo
  const agent = new Agent({ keepAlive: false })
  const reply = await new Promise<Omit<Ending, 'calls'>>(resolve => {
    let status: number | undefined
    let body = ''
    const finish = (isCut: boolean): void => {
      resolve({ status, body, isCut })
    }
    open(
      { port, host: '127.0.0.1', path, agent, headers: { host: 'acme.example.com' } },
      (response: IncomingMessage) => {
        status = response.statusCode
        response.setEncoding('utf8')
        response.on('data', (chunk: string) => {
          body += chunk
        })
        response.on('end', () => finish(false))
        response.on('error', () => finish(true))
      }
    ).on('error', () => finish(true)).end()
  })
  agent.destroy()
  return { ...reply, calls: [...calls] }
}
