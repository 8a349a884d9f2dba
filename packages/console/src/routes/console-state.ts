import type { DoctorReport, Manager } from '@fastify-tenancy/manager'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'

import { assetsVersion } from '../assets/routes.ts'
import { Confirmations } from './confirmations.ts'
import type { HtmlValue } from '../html/html.ts'
import { page, type PageContext } from '../pages/page.ts'
import { recentMigrations, type Migrations } from '../pages/migrations.ts'
import { takeSamples, type Samples } from '../plots/samples.ts'
import { Recent } from '../data/recent.ts'
import { consoleApp, type ConsoleApp } from '../data/suite.ts'

/** How long a report of the doctor is shown, and how long a page waits for one, in milliseconds. */
const doctorMaxAgeMs = 60_000
const doctorPatienceMs = 8_000

const actorKey: unique symbol = Symbol('tenancy.operator')
type Operated = FastifyRequest & { [actorKey]?: string | undefined }

/** What the routes of one console share. */
export class ConsoleState {
  readonly base: string
  readonly app: ConsoleApp
  readonly manager: Manager
  readonly samples: Samples
  readonly confirmations: Confirmations = new Confirmations()
  readonly migrations: Recent<Migrations>
  readonly doctor: Recent<DoctorReport>

  constructor (app: FastifyInstance, manager: Manager) {
    this.base = app.prefix
    this.app = consoleApp(app)
    this.manager = manager
    this.samples = takeSamples(app, this.app.tenancy)
    this.migrations = recentMigrations(manager)
    this.doctor = new Recent(() => manager.doctor(), doctorMaxAgeMs, doctorPatienceMs)
  }

  /** Names the operator of a request. */
  admit (request: Operated, actor: string): void {
    request[actorKey] = actor
  }

  /** The operator of a request; undefined before {@link admit}. */
  actorOf (request: Operated): string | undefined {
    return request[actorKey]
  }

  /** Sends a page. */
  send (
    request: FastifyRequest,
    reply: FastifyReply,
    content: {
      readonly title: string
      readonly section?: 'Tenants' | 'Fleet' | 'Doctor'
      readonly main: HtmlValue
    }
  ): FastifyReply {
    return this.sendHtml(reply, page(this.#context(request), content))
  }

  /** Sends a part of a page. */
  sendHtml (reply: FastifyReply, part: HtmlValue & object): FastifyReply {
    return reply.type('text/html; charset=utf-8').send(String(part))
  }

  // A stranger learns nothing: neither how the application does nor what pages there are.
  #context (request: FastifyRequest): PageContext {
    const actor = this.actorOf(request)
    const health = actor === undefined ? undefined : this.app.tenancy.health().status
    return { base: this.base, assets: assetsVersion, actor, health }
  }
}

/** Makes the property that {@link ConsoleState.admit} sets, on every request of the console. */
export function decorateOperator (app: FastifyInstance): void {
  app.decorateRequest(actorKey, undefined)
}
