import type { TenantRecord } from '@fastify-tenancy/core'
import { tenantConflict } from '@fastify-tenancy/core/errors'
import { planProblem } from '@fastify-tenancy/core/names'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import * as v from 'valibot'

import { actions, type ActionName } from '../data/actions.ts'
import type { Subject } from './confirmations.ts'
import type { ConsoleState } from './console-state.ts'
import { ConfirmationInvalidError, ConsoleForbiddenError } from './errors.ts'
import { confirmPage } from '../pages/confirm.ts'
import { openSession, readSession } from './session.ts'
import { find, off } from './show.ts'

/** Bytes of a form. The longest reason takes 600 as UTF-8, and three times as many in a form. */
const bodyLimit = 8_192

interface Params {
  readonly id: string
}

const formSchema = v.object({
  token: v.string(),
  version: v.pipe(v.string(), v.regex(/^\d{1,15}$/), v.transform(Number)),
  plan: v.optional(v.string()),
  reason: v.optional(v.pipe(v.string(), v.maxLength(200)))
})

type Form = v.InferOutput<typeof formSchema>

/** The confirmation page of each action, and what its form sends. */
export function takeActions (app: FastifyInstance, shared: ConsoleState): void {
  // Forms alone: no other site can send anything else without asking first.
  app.removeAllContentTypeParsers()
  app.addContentTypeParser(
    'application/x-www-form-urlencoded',
    { parseAs: 'string', bodyLimit },
    async (_request: FastifyRequest, body: string) => parseForm(body)
  )
  for (const name of Object.keys(actions) as ActionName[]) addAction(app, shared, name)
}

function addAction (app: FastifyInstance, shared: ConsoleState, name: ActionName): void {
  const { base, confirmations, manager } = shared
  const url = `/tenants/:id/${name}`
  const action = actions[name]

  app.get<{ Params: Params; Querystring: { plan?: unknown } }>(url, off, async (request, reply) => {
    const tenant = await find(shared, request.params.id)
    assertFits(name, tenant)
    const plan = name === 'plan' ? planOf(request.query.plan) : undefined
    const limitsOf = (
      plan: string
    ): ReturnType<NonNullable<typeof shared.app.tenantRateLimit>['limitsFor']> | undefined =>
      shared.app.tenantRateLimit?.limitsFor({ ...tenant, plan })
    const actor = operator(shared, request)
    const token = confirmations.issue(
      openSession(request, reply),
      subject(actor, name, tenant.id, {
        version: tenant.version,
        plan
      })
    )
    return shared.send(request, reply, {
      title: `${action.label}: ${tenant.slug}`,
      section: 'Tenants',
      main: confirmPage({
        base,
        action: name,
        tenant,
        actor,
        token,
        plan: plan === undefined ? undefined : { name: plan, limits: limitsOf(plan) },
        limits: limitsOf(tenant.plan)
      })
    })
  })

  app.post<{ Params: Params; Body: Form | undefined }>(url, off, async (request, reply) => {
    const { body: form, params: { id } } = request
    const actor = operator(shared, request)
    const session = readSession(request)
    if (form === undefined || session === undefined || isForeign(request))
      throw new ConfirmationInvalidError()
    const problem = confirmations.redeem(session, subject(actor, name, id, form), form.token)
    if (problem !== undefined) {
      request.log.warn({ operator: actor, action: name, tenant: id, problem }, 'a confirmation was refused')
      throw new ConfirmationInvalidError(refused[problem])
    }
    const tenant = await find(shared, id)
    if (tenant.version !== form.version)
      throw tenantConflict(
        'the tenant was changed since this page was opened, and nothing was done: look at it again'
      )
    assertFits(name, tenant)
    const reason = form.reason?.trim()
    await action.run({ manager: manager.as(actor), tenancy: shared.app.tenancy }, tenant, {
      plan: form.plan,
      reason: reason === '' ? undefined : reason
    })
    request.log.info({ operator: actor, action: name, tenant: id }, 'an operator acted on a tenant')
    return reply.redirect(`${base}/tenants/${tenant.id}?done=${name}`, 303)
  })
}

const refused = {
  forged: undefined,
  expired: 'this confirmation is older than 15 minutes, and nothing was done: open it again',
  used: 'this confirmation was used already, and nothing was done again'
}

function subject (
  actor: string,
  action: ActionName,
  tenant: string,
  { version, plan }: Pick<Form, 'version' | 'plan'>
): Subject {
  return { actor, action, tenant, version, plan }
}

/** @throws FST_TENANCY_CONSOLE_FORBIDDEN */
function operator (shared: ConsoleState, request: FastifyRequest): string {
  const actor = shared.actorOf(request)
  if (actor === undefined) throw new ConsoleForbiddenError()
  return actor
}

/** @throws FST_TENANCY_TENANT_CONFLICT */
function assertFits (name: ActionName, { slug, status }: TenantRecord): void {
  if (!actions[name].from.includes(status))
    throw tenantConflict(`${actions[name].label.toLowerCase()} does not fit: the tenant ${slug} is ${status}`)
}

function planOf (plan: unknown): string {
  const problem = typeof plan === 'string' ? planProblem(plan.trim()) : 'must be given once'
  if (problem !== undefined || typeof plan !== 'string')
    throw Object.assign(new ConfirmationInvalidError(`the plan ${problem}`), { statusCode: 400 })
  return plan.trim()
}

// Browsers send Sec-Fetch-Site over TLS and to localhost only. Over plain HTTP a sister host could
// set the session cookie and forge a token with it, so there the form's Origin decides.
function isForeign ({ headers, host }: FastifyRequest): boolean {
  const site = headers['sec-fetch-site']
  if (site !== undefined) return site !== 'same-origin'
  const { origin } = headers
  return origin !== undefined && (!URL.canParse(origin) || new URL(origin).host !== host.toLowerCase())
}

function parseForm (body: string): Form {
  const fields = [...new URLSearchParams(body)]
  const result = v.safeParse(formSchema, Object.fromEntries(fields))
  if (!result.success || new Set(fields.map(([name]) => name)).size < fields.length)
    throw Object.assign(new ConfirmationInvalidError(), { statusCode: 400 })
  return result.output
}
