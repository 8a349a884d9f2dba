import { channels, type EventTenant, type RequestEvent, type RequestTenancy,
  type TenancyError } from '@fastify-tenancy/core'
import type { FastifyReply, FastifyRequest } from 'fastify'

/** The status that servers log for a request whose client closed the connection. */
const clientClosedRequest = 499

const tooManyRequests = 429

/**
 * Publishes how a request ended and why the resolver refused it. A 429 is excluded, because the
 * limiter answered before the refusal was sent.
 *
 * @param reply undefined if the client left before the reply
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

  // A getter, because Fastify creates an object of all route options at each call.
  get route (): string | undefined {
    return this.request.routeOptions.url
  }
}
