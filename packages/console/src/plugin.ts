import { nameProblem } from '@fastify-tenancy/core/names'
import type { FastifyInstance, FastifyPluginAsync } from 'fastify'
import fp from 'fastify-plugin'

import { serveAssets } from './assets/routes.ts'
import { ConsoleState, decorateOperator } from './routes/console-state.ts'
import { ConsoleForbiddenError } from './routes/errors.ts'
import { resolveConsoleOptions, type ConsoleOptions } from './options.ts'
import { answerErrors } from './routes/refusals.ts'
import { takeActions } from './routes/act.ts'
import { showPages } from './routes/show.ts'
import { keepFromOthers, secure } from './security-headers.ts'

const plugin: FastifyPluginAsync<ConsoleOptions> = async (app: FastifyInstance, input: ConsoleOptions) => {
  const { authorize, manager } = resolveConsoleOptions(input)
  const shared = new ConsoleState(app, manager)
  decorateOperator(app)
  answerErrors(app, shared)

  // Before everything else of the console, and before a body is read. Without a name of an operator
  // nothing is shown.
  app.addHook('onRequest', async (request, reply) => {
    secure(reply)
    const actor = await authorize(request, reply) // a reply resolves to nothing once it is sent
    if (reply.sent) return reply
    if (typeof actor !== 'string' || nameProblem(actor) !== undefined) throw new ConsoleForbiddenError()
    shared.admit(request, actor)
    return undefined
  })

  app.addHook('onSend', async (_request, reply) => keepFromOthers(reply))

  serveAssets(app)
  showPages(app, shared)
  takeActions(app, shared)
}

/**
 * Pages for operators: tenants, fleet and doctor, and four actions that destroy nothing.
 *
 * ```ts
 * await app.register(tenancyConsole, {
 *   prefix: '/_tenancy',
 *   manager,
 *   authorize: request => operators.nameOf(request)
 * })
 * ```
 *
 * @throws FST_TENANCY_OPTION_INVALID without `authorize`, and for every other wrong option
 */
export const tenancyConsole: FastifyPluginAsync<ConsoleOptions> = fp(plugin, {
  name: '@fastify-tenancy/console',
  fastify: '5.x',
  encapsulate: true,
  decorators: { fastify: ['tenancy'] }
})

export default tenancyConsole
