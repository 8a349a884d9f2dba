import { channels, type QueryEvent, type ResolvedEvent } from '@fastify-tenancy/core'
import { checkOptions } from '@fastify-tenancy/core/options'
import { SpanKind, SpanStatusCode, trace, type Span, type Tracer } from '@opentelemetry/api'
import * as v from 'valibot'

import { codeOf } from './known-codes.ts'
import { withoutLiterals } from './without-literals.ts'

/** Options of {@link openTelemetry}. */
export interface OpenTelemetryOptions {
  /** Creates the spans. @default the global provider's tracer of this package's name */
  readonly tracer?: Tracer
}

const schema = v.strictObject({
  tracer: v.optional(v.custom<Tracer>(
    value => typeof value === 'object' && value !== null && 'startSpan' in value,
    'must be a Tracer of @opentelemetry/api'
  ))
}, 'must be an object')

/**
 * Characters of a statement's text in a span. Longer texts are lists of values, and exporters limit
 * the size of a batch.
 */
const longestText = 8_192

/** The attribute that names the tenant, on spans of requests and statements. */
const tenantId = 'tenant.id'

/**
 * Creates a span for each statement, as a child of the active span, by the semantic conventions for
 * databases. Puts the tenant's id on the request's span. pg's own instrumentation does not see
 * statements of the suite.
 *
 * https://opentelemetry.io/docs/specs/semconv/database/postgresql/
 *
 * @returns the function that ends it
 * @throws FST_TENANCY_OPTION_INVALID
 */
export function openTelemetry (input: OpenTelemetryOptions = {}): () => void {
  const { tracer = trace.getTracer('@fastify-tenancy/telemetry') } = checkOptions(
    schema,
    input,
    'the options of openTelemetry()'
  )
  const spans = new WeakMap<QueryEvent, Span>()

  const onStart = (event: QueryEvent): void => {
    const { operation, text, tenant } = event
    spans.set(
      event,
      tracer.startSpan(operation, {
        kind: SpanKind.CLIENT,
        attributes: {
          'db.system.name': 'postgresql',
          'db.operation.name': operation,
          'db.query.text': withoutLiterals(text.slice(0, longestText)),
          [tenantId]: tenant.id
        }
      })
    )
  }
  const onError = (event: QueryEvent): void => {
    const span = spans.get(event)
    const { error } = event
    const code = codeOf(error)
    if (code !== undefined && /^[0-9A-Z]{5}$/.test(code)) span?.setAttribute('db.response.status_code', code)
    span?.setAttribute('error.type', code ?? (error instanceof Error ? error.name : 'unknown'))
    // The message is left out, because the message of a database error can contain values of rows.
    span?.setStatus({ code: SpanStatusCode.ERROR })
  }
  const onEnd = (event: QueryEvent): void => {
    const span = spans.get(event)
    if (span === undefined) return
    span.setAttribute('db.response.returned_rows', event.rows)
    span.setAttribute('tenancy.connection.wait', event.wait)
    span.end()
  }
  channels.query.start.subscribe(onStart)
  channels.query.error.subscribe(onError)
  channels.query.asyncEnd.subscribe(onEnd)
  channels.resolved.subscribe(onResolved)
  return () => {
    channels.query.start.unsubscribe(onStart)
    channels.query.error.unsubscribe(onError)
    channels.query.asyncEnd.unsubscribe(onEnd)
    channels.resolved.unsubscribe(onResolved)
  }
}

function onResolved ({ tenant, request }: ResolvedEvent): void {
  const span = requestSpan(request) ?? trace.getActiveSpan()
  span?.setAttribute(tenantId, tenant.id)
}

// Returns the request's span, which @fastify/otel stores on the request. The active span is that of
// the hook.
function requestSpan (request: object): Span | undefined {
  const { opentelemetry } = request as { opentelemetry?: () => { readonly span?: Span | null } }
  return opentelemetry?.call(request).span ?? undefined
}
