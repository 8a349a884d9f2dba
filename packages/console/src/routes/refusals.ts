import type { FastifyError, FastifyInstance } from 'fastify'

import type { ConsoleState } from './console-state.ts'
import { failurePage, type Failure } from '../pages/failure.ts'

const titles: Readonly<Record<number, string>> = {
  400: 'This request is not valid',
  401: 'Sign in first',
  403: 'Refused',
  404: 'Not found',
  409: 'In conflict with other work',
  429: 'Too many requests',
  503: 'Not available at the moment'
}

/**
 * Answers every error of the console with a page. The text of an error without a code of the suite
 * goes to the log alone.
 */
export function answerErrors (app: FastifyInstance, shared: ConsoleState): void {
  app.setErrorHandler((error: FastifyError, request, reply) => {
    const failure = failureOf(
      error,
      request.id,
      shared.actorOf(request) === undefined ? undefined : shared.base
    )
    if (failure.statusCode >= 500) request.log.error({ err: error }, 'a page of the console failed')
    return shared.send(request, reply.code(failure.statusCode), {
      title: failure.title,
      main: failurePage(failure)
    })
  })
}

function failureOf (error: Partial<FastifyError>, id: string, base: string | undefined): Failure {
  const { statusCode: given = 500, code, message = '' } = error
  const statusCode = given >= 400 && given < 600 ? given : 500
  const isOurs = code?.startsWith('FST_TENANCY_') === true
  const text = isOurs
    ? sentence(message)
    : statusCode < 500
    ? `${titles[statusCode] ?? 'This request is refused'}.`
    : `Something failed. The log of the application has the reason under request ${id}.`
  return {
    statusCode,
    title: titles[statusCode] ?? (statusCode < 500 ? 'Refused' : 'Something failed'),
    text,
    next: base === undefined ? undefined : { href: `${base}/`, text: 'All tenants' }
  }
}

function sentence (text: string): string {
  return `${text.slice(0, 1).toUpperCase()}${text.slice(1)}${/[.!?]$/.test(text) ? '' : '.'}`
}
