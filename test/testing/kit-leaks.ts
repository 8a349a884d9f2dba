// Runs the kit on the leaky application, and says which of its leaks the report names.
import { assertIsolated, type IsolationReport } from '@fastify-tenancy/testing'
import type { Test } from 'tap'

import { newPair, type World } from './kit-world.ts'
import { leaks, leakyApp, type Leak } from './leaky-app.ts'

/** What the report of each leak says. */
const said: Record<Leak, RegExp> = {
  'raw-sql': /GET \/projects leaks .* in the body/,
  'id-only': /GET \/projects\/:id leaks .* in the body/,
  'cache-key': /GET \/projects leaks .* in the body/,
  'cached-count': /GET \/stats leaks body\.projects counts rows of the other tenant/,
  'body-id': /POST \/projects leaks a row of the victim in projects changed: .* was added/,
  'query-tenant': /GET \/search leaks .*\n.*tenant=/,
  'header-tenant': /GET \/projects leaks .*\n.*x-acting-for: /,
  'owner-view': /GET \/projects leaks .* in the body/,
  'materialized-view': /GET \/projects leaks .* in the body/,
  'definer-function': /GET \/projects\/:id leaks .* in the body/,
  'log-line': /logs leaks /,
  'error-body': /GET \/projects\/:id leaks .* in the body/,
  'public-cache': /GET \/projects leaks a shared cache may keep the tenant's reply/,
  etag: /GET \/stats leaks .*etag/,
  'reply-header': /GET \/projects leaks .* in the header x-newest/,
  location: /GET \/projects\/:id leaks .* in the header location/,
  cookie: /GET \/projects leaks .* in the header set-cookie/,
  sequence:
    /POST \/projects\/:id\/tasks leaks the reply tells what the victim did: body\.number left its steps/,
  count: /GET \/stats leaks the reply depends on the victim's data: body\.projects/,
  exists:
    /GET \/projects\/:id leaks the reply tells that the victim has projects\.id .*: status: 404 became 403/,
  unique:
    /POST \/projects leaks the reply tells that the victim has projects\.name .*: status: 201 became 409/,
  search: /GET \/search leaks .* in the body/,
  cursor: /GET \/search leaks .* \(projects\.id\) in the body/,
  bulk: /POST \/projects\/delete leaks a row of the victim in projects changed: .* is gone/,
  update: /PATCH \/projects\/:id leaks a row of the victim in projects changed: .* became /,
  download: /GET \/export leaks .* in the body/,
  websocket: /GET \/live leaks .* arrived while the victim was at work/,
  events: /GET \/events leaks .* arrived while the victim was at work/,
  webhook: /outgoing requests leaks /,
  job: /GET \/jobs leaks .* in the body/,
  memory: /GET \/recent leaks .* in the body/,
  'error-cause': /GET \/projects\/:id leaks .* in the body/,
  head: /HEAD \/size leaks the reply depends on the victim's data: header content-length/
}

export const all = Object.keys(leaks) as Leak[]

/** The kit's report, whether it failed or not. */
export async function reportOf (
  t: Test,
  world: World,
  ...switched: readonly Leak[]
): Promise<IsolationReport> {
  const app = await leakyApp(t, world, ...switched)
  try {
    return await assertIsolated(app, await newPair(world))
  } catch (error) {
    const { report } = error as { report?: IsolationReport }
    if (report === undefined) throw error
    return report
  } finally {
    await app.close()
  }
}

/** Fails for each leak that is on and not found. */
export async function findsAll (t: Test, world: World, ...switched: readonly Leak[]): Promise<void> {
  const report = await reportOf(t, world, ...switched)
  for (const leak of switched) t.match(String(report), said[leak], `${leak}: ${leaks[leak]}`)
  t.same(report.notTried, [])
}
