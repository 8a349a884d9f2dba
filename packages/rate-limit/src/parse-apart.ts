import { OptionInvalidError } from '@fastify-tenancy/core'
import { once } from 'node:events'
import { createInterface } from 'node:readline/promises'
import type { Readable } from 'node:stream'
import { setImmediate } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'

import type { LimitFields, LimitsParts } from './limits.ts'
import type { Line } from './parse-worker.ts'

// Types are stripped from the source when it is run as it is; a URL in code is not rewritten like an import.
const worker = new URL(import.meta.url.endsWith('.ts') ? './parse-worker.ts' : './parse-worker.js', import.meta.url)

/**
 * Reads and checks a limits file in a thread of its own, for one so large that the event loop would stand still for it.
 *
 * @throws FST_TENANCY_OPTION_INVALID as `parseLimits()` does.
 */
export async function parseApart (path: string, name: string): Promise<LimitsParts> {
  const thread = new Worker(worker, { workerData: { path, name }, stdout: true })
  thread.unref() // a process that ends need not wait for it
  const [parts] = await Promise.all([collect(thread.stdout), once(thread, 'exit')])
  return parts
}

async function collect (lines: Readable): Promise<LimitsParts> {
  let rest: Omit<LimitsParts, 'tenants'> = { default: {}, anonymous: {}, plans: new Map() }
  const tenants = new Map<string, LimitFields>()
  for await (const text of createInterface({ input: lines })) {
    const line = JSON.parse(text) as Line
    if ('problem' in line) throw new OptionInvalidError(line.problem)
    if ('plans' in line) rest = { ...line, plans: new Map(line.plans) }
    else for (const [tenant, fields] of line.tenants) tenants.set(tenant, fields)
    await setImmediate() // a turn of the event loop for each slice, however many have come
  }
  return { ...rest, tenants }
}
