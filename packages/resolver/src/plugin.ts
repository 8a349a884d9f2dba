/**
 * The hooks of the suite, in the order in which they run. "app" hooks are hooks of the application,
 * "route" hooks belong to one route and run after them, behind the route's own hooks.
 * test/suite/hook-order.test.ts compares this table with a real application.
 *
 * | hook           | on    | package             | task |
 * | -------------- | ----- | ------------------- | ---- |
 * | onRoute        | app   | resolver            | resolves the mode; adds the claim hook |
 * | onRoute        | app   | resolver            | adds the `Vary` hook |
 * | onRoute        | app   | rate-limit          | adds the hook that counts claimed tenants |
 * | onRoute        | app   | rate-limit          | puts the tenant into keys of route limits |
 * | onRoute        | app   | @fastify/rate-limit | adds the hook of `config.rateLimit` |
 * | onRoute        | app   | database            | adds the hook of `transaction: true` |
 * | onReady        | app   | resolver            | checks slugs; subscribes to changes |
 * | onReady        | app   | rate-limit          | refuses a second @fastify/rate-limit |
 * | onReady        | app   | cache               | connects; subscribes to changes |
 * | onReady        | app   | fastify-tenancy     | watches the catalog and all parts |
 * | onListen       | app   | fastify-tenancy     | tracks connections of further addresses |
 * | onRequest      | app   | resolver            | finds the tenant by host, enters its scope |
 * | onRequest      | app   | rate-limit          | counts; answers 429 or the stored refusal |
 * | onRequest      | route | @fastify/rate-limit | counts against `config.rateLimit` |
 * | preParsing     | app   | resolver            | answers a refusal that no hook has sent |
 * | preValidation  | app   | resolver            | enters the scope again; detaches websockets |
 * | preHandler     | app   | resolver            | unmatched URL: checks the claim |
 * | preHandler     | app   | rate-limit          | unmatched URL: counts a claimed tenant |
 * | preHandler     | route | resolver            | checks the claim, or finds the tenant by it |
 * | preHandler     | route | rate-limit          | counts a tenant that the claim named |
 * | preHandler     | route | database            | begins the transaction of the request |
 * | onSend         | app   | resolver            | unmatched URL: sets `Vary` |
 * | onSend         | app   | database            | commits before the first byte of the reply |
 * | onSend         | route | resolver            | sets `Vary` |
 * | onError        | app   | resolver            | aborts the scope after a handler timeout |
 * | onError        | app   | database            | marks the transaction for rollback |
 * | onError        | app   | fastify-tenancy     | hides texts of errors in error replies |
 * | onResponse     | app   | resolver            | publishes the event; ends the scope |
 * | onTimeout      | app   | resolver            | aborts the scope |
 * | onRequestAbort | app   | resolver            | publishes the event; aborts the scope |
 * | preClose       | app   | resolver            | ends detached scopes |
 * | preClose       | app   | fastify-tenancy     | starts the wait for open work |
 * | preClose       | app   | fastify-tenancy     | makes `isReady()` false |
 *
 * The hooks for the claim and for `Vary` exist only with `claim` and the strategy `header`. With
 * the option `observe`, database adds an onRequest hook after that of rate-limit.
 * onClose hooks run in reverse order of registration: the suite closes database and Redis last.
 */

import { currentScope, OptionInvalidError, TenantMismatchError } from '@fastify-tenancy/core'
import { InternalError } from '@fastify-tenancy/core/errors'
import { RequestTenancy, runInScope } from '@fastify-tenancy/core/scope'
import { assertNamespaced } from '@fastify-tenancy/redis'
import type { FastifyError, FastifyPluginAsync, FastifyReply, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'

import { Admission } from './admission.ts'
import { forwardedForWarning, warnOfEncapsulation } from './boot-warnings.ts'
import { DetachedScopes, HandlesOf } from './detached.ts'
import { readDirect, readForwarded } from './forwarded.ts'
import { openResolver } from './open-resolver.ts'
import { resolveResolverOptions, type TenantResolverOptions } from './options.ts'
import { outside, refuseEarlierRoutes, resolveRoute, routeOf } from './routes.ts'
import { runEventsInScope } from './socket-scope.ts'
import { publishRequest } from './request-events.ts'
import { addVary } from './vary.ts'

const key: unique symbol = Symbol('tenancy.request')

type Tenanted = FastifyRequest & { [key]?: RequestTenancy }
type Done = (error?: FastifyError) => void

const plugin: FastifyPluginAsync<TenantResolverOptions> = async (app, input) => {
  if (app.hasDecorator('tenantResolver'))
    throw new OptionInvalidError(
      'the tenant resolver is registered twice: register it once, for the whole application'
    )
  const options = resolveResolverOptions(input)
  refuseEarlierRoutes(app, options.routes)
  assertNamespaced(options)
  const { resolver, strategies, checkSlugs, close } = openResolver(
    options,
    options.trustForwardedHost ? readForwarded(app) : readDirect
  )
  const admission = new Admission(resolver, strategies, options)
  const detached = new DetachedScopes(resolver.watch, resolver.prolonged)

  app.decorate('tenantResolver', resolver)
  app.decorateRequest(key, undefined)
  app.decorateRequest('tenancy', {
    getter (this: Tenanted) {
      return this[key] ?? outside
    }
  })
  app.decorateRequest('tenantSource', {
    getter (this: Tenanted) {
      return this[key]?.source
    }
  })
  app.decorateRequest(options.decorators.tenant, {
    getter (this: Tenanted) {
      return this[key]?.scope?.tenant
    }
  })

  let isLimited = false
  app.addHook('onReady', async () => {
    // With a limiter, the limiter counts the request before it sends the refusal. Without one, this
    // plugin sends it.
    isLimited = app.hasDecorator('tenantRateLimit')
    const warning = await checkSlugs()
    if (warning !== undefined) app.log.warn(`tenancy: ${warning}`)
    await resolver.start()
  })
  app.addHook('preClose', async () => {
    detached.end()
  })
  app.addHook('onClose', close)

  app.addHook('onRoute', route => {
    const { off } = resolveRoute(route, options.routes)
    // Added as the last of the route's hooks, so that any earlier hook may authenticate.
    if (options.claim !== undefined && off === undefined)
      route.preHandler = [route.preHandler ?? [], checkClaim].flat()
  })

  if (options.strategies.includes('header')) addVary(app, options.header)
  warnOfEncapsulation(app)
  const heed = forwardedForWarning(app)

  app.addHook('onRequest', (request: Tenanted, reply, done: Done) => {
    heed?.(request)
    const { route, off } = routeOf(request)
    const tenancy = request[key] = off ??
      new RequestTenancy(route, new HandlesOf(detached, request, reply))
    if (off !== undefined) done()
    else proceed(admission.byHost(request, reply, tenancy), tenancy, done, !isLimited)
  })

  // Safety net: if neither the limiter nor `onRequest` sent the refusal, send it here, before
  // Fastify reads the body.
  app.addHook('preParsing', (request: Tenanted, _reply, _payload, done: Done) => {
    done(request[key]?.refusal as FastifyError | undefined)
  })

  // An earlier hook may have continued in a callback of a pool or emitter, which loses the
  // AsyncLocalStorage context. Enter the context again.
  app.addHook('preValidation', (request: Tenanted, reply, done: Done) => {
    const scope = request[key]?.scope
    detachSocket(request, reply)
    if (scope === undefined || currentScope() === scope) done()
    else runInScope(scope, done)
  })

  function checkClaim (request: Tenanted, reply: FastifyReply, done: Done): void {
    const tenancy = request[key] ?? outside
    proceed(admission.byClaim(request, reply, tenancy), tenancy, error => {
      if (error instanceof TenantMismatchError) removeLimits(reply)
      detachSocket(request, reply)
      done(error)
    }, true)
  }

  // An unmatched URL has no route, so authentication hooks of routes have not run for it. Its
  // handler may answer 404 to any client, but gets a tenant only if the claim agrees.
  if (options.claim !== undefined) {
    app.addHook('preHandler', (request: Tenanted, reply, done: Done) => {
      const tenancy = request[key] ?? outside
      if (!request.is404 || tenancy.route.mode === 'off') return done()
      proceed(admission.byClaim(request, reply, tenancy), tenancy, () => {
        // The refusal is not sent (the handler answers), but the handler must not see the host's
        // tenant.
        if (tenancy.refusal !== undefined) {
          tenancy.scope?.end()
          tenancy.scope = undefined
        }
        done()
      }, false)
    })
  }

  app.addHook('onResponse', (request: Tenanted, reply, done) => {
    publishRequest(request, request[key], reply)
    request[key]?.scope?.end()
    // Node hands the socket of an upgrade request over and no longer reads it. If the upgrade was
    // answered as a normal request, close the socket here, or it would stay open forever.
    if (isUpgrade(request)) request.raw.socket.destroySoon()
    done()
  })
  app.addHook('onError', (request: Tenanted, _reply, error: FastifyError | null, done) => {
    if (error?.code === 'FST_ERR_HANDLER_TIMEOUT') request[key]?.scope?.abort(error)
    done()
  })
  app.addHook('onTimeout', (request: Tenanted, _reply, done) => {
    request[key]?.scope?.abort(new InternalError('the connection timed out'))
    done()
  })
  app.addHook('onRequestAbort', (request: Tenanted, done) => {
    publishRequest(request, request[key], undefined)
    request[key]?.scope?.abort(new InternalError('the client has gone'))
    done()
  })
}

/**
 * Continues once the decision is made: in the tenant's context, or without one, or with the refusal
 * if this plugin sends it.
 */
function proceed (
  decision: Promise<void> | undefined,
  tenancy: RequestTenancy,
  done: Done,
  sendsRefusal: boolean
): void {
  if (decision !== undefined) {
    void decision.then(() => proceed(undefined, tenancy, done, sendsRefusal))
    return
  }
  const { refusal, scope } = tenancy
  if (refusal !== undefined) done(sendsRefusal ? refusal as FastifyError : undefined)
  else if (scope !== undefined) runInScope(scope, done)
  else done()
}

// Detaches the scope of a websocket (of @fastify/websocket or another plugin). No reply ever ends
// this scope, so the connection must.
function detachSocket (
  request: Tenanted & { readonly ws?: unknown },
  { raw: { socket } }: FastifyReply
): void {
  const tenancy = request[key]
  if (request.ws !== true && !isUpgrade(request)) return
  if (tenancy?.scope === undefined || tenancy.refusal !== undefined) return
  tenancy.detach()
  if (socket !== null) runEventsInScope(socket, tenancy.scope)
}

// Whether Node handed the socket over to a listener of the server's 'upgrade' event.
function isUpgrade ({ raw }: FastifyRequest): boolean {
  return (raw as { readonly upgrade?: unknown }).upgrade === true
}

// Removes the limiter's headers, because they describe the host's tenant and the client belongs to
// another one.
function removeLimits (reply: FastifyReply): void {
  for (const name of Object.keys(reply.getHeaders())) {
    if (/^(?:x-)?ratelimit/.test(name)) reply.removeHeader(name)
  }
}

/**
 * Finds the tenant of each request: `request.tenant`, `request.tenantSource`, `request.tenancy` and
 * `app.tenantResolver`. Register it before any route. A client passed as `redis` is not closed.
 */
export const tenantResolver: FastifyPluginAsync<TenantResolverOptions> = fp(plugin, {
  name: '@fastify-tenancy/resolver',
  fastify: '5.x'
})
