import { channels, type EventTenant, type RequestEvent, type RequestTenancy,
  type TenancyError } from '@fastify-tenancy/core'
import type { FastifyReply, FastifyRequest } from 'fastify'

/** As servers log a request whose client has closed the connection. */
const clientClosedRequest = 499

const tooManyRequests = 429

/**
 * Publishes how a request ended, and why the resolver refused it. A 429 came before the refusal could be sent.
 *
 * @param reply undefined where the client went before it
 */
export function publishRequest (
  request: FastifyRequest,
  tenancy: RequestTenancy | undefined,
  reply: FastifyReply | undefined
): void {
  if (channels.request.hasSubscribers) channels.request.publish(new Answered(request, tenancy, reply))
  const refusal = tenancy?.refusal as TenancyError | undefined
  if (refusal === undefined || !channels.refused.hasSubscribers) return
  const statusCode = reply?.statusCode ?? clientClosedRequest
  if (statusCode === tooManyRequests) return
  channels.refused.publish({
    code: refusal.code,
    statusCode: refusal.statusCode ?? statusCode,
    tenant: tenancy?.scope?.tenant,
    request
  })
}

class Answered implements RequestEvent {
  readonly tenant: EventTenant | undefined
  readonly mode: RequestEvent['mode']
  readonly statusCode: number
  readonly duration: number | undefined
  readonly request: FastifyRequest

  constructor (
    request: FastifyRequest,
    tenancy: RequestTenancy | undefined,
    reply: FastifyReply | undefined
  ) {
    this.tenant = tenancy?.scope?.tenant
    this.mode = tenancy?.route.mode ?? 'off'
    this.statusCode = reply?.statusCode ?? clientClosedRequest
    this.duration = reply?.elapsedTime
    this.request = request
  }

  get method (): string {
    return this.request.method
  }

  // Fastify makes an object of all options at each call.
  get route (): string | undefined {
    return this.request.routeOptions.url
  }
}
