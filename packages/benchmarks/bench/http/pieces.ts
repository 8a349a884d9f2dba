// A bare application with one feature of the suite each: what the feature costs in Fastify and
// Node, independent of the suite.
import { rateLimited } from '@fastify-tenancy/core/errors'
import type { FastifyInstance, FastifyReply } from 'fastify'
import { AsyncLocalStorage } from 'node:async_hooks'

const storage = new AsyncLocalStorage<object>()
let remaining = 1_000_000_000

function legacy (reply: FastifyReply): void {
  reply.header('x-ratelimit-limit', 1_000_000_000).header('x-ratelimit-remaining', --remaining).header(
    'x-ratelimit-reset',
    60
  )
}

function both (reply: FastifyReply): void {
  legacy(reply)
  reply.header('ratelimit-policy', '"tenant";q=1000000000;w=60').header(
    'ratelimit',
    `"tenant";r=${remaining};t=60`
  )
}

function context (app: FastifyInstance): void {
  app.addHook('onRequest', (_request, _reply, done) => storage.run({}, done))
}

/** The hooks of the resolver and the limiter, empty. */
function hooks (app: FastifyInstance): void {
  app.addHook('onRequest', (_request, _reply, done) => {
    done()
  })
  app.addHook('onRequest', (_request, _reply, done) => {
    done()
  })
  app.addHook('preParsing', (_request, _reply, _payload, done) => {
    done()
  })
  app.addHook('preValidation', (_request, _reply, done) => {
    done()
  })
  app.addHook('preHandler', (_request, _reply, done) => {
    done()
  })
  app.addHook('onResponse', (_request, _reply, done) => {
    done()
  })
  app.addHook('onTimeout', (_request, _reply, done) => {
    done()
  })
  app.addHook('onRequestAbort', (_request, done) => {
    done()
  })
}

export const pieces: Readonly<Record<string, (app: FastifyInstance) => void>> = {
  'AsyncLocalStorage.run': context,
  'eight empty hooks': hooks,
  '3 headers, x-ratelimit-*': app => {
    app.addHook('onRequest', (_request, reply, done) => {
      legacy(reply)
      done()
    })
  },
  '5 headers, both kinds': app => {
    app.addHook('onRequest', (_request, reply, done) => {
      both(reply)
      done()
    })
  },
  'all of these': app => {
    context(app)
    hooks(app)
    app.addHook('onRequest', (_request, reply, done) => {
      both(reply)
      done()
    })
  },
  'an error in a hook, as 429': app => {
    app.addHook('onRequest', (_request, _reply, done) => {
      done(rateLimited(60))
    })
  },
  'all of these, as 429': app => {
    context(app)
    hooks(app)
    app.addHook('onRequest', (_request, reply, done) => {
      both(reply)
      reply.header('retry-after', 60)
      done(rateLimited(60))
    })
  }
}
