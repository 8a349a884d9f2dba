import { OptionInvalidError } from '@fastify-tenancy/core'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { createInterface } from 'node:readline/promises'
import type { Readable } from 'node:stream'
import { setImmediate } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'

import type { LimitFields, LimitsParts } from './limits.ts'
import { parseLimits } from './parse-limits.ts'
import type { Line } from './parse-worker.ts'
import { readLimits } from './read-limits.ts'

/**
 * Reads and checks a limits file in a worker thread, because a large file would block the event
 * loop. In a bundled application the worker's file is missing, and the file is checked in this
 * thread.
 *
 * @throws FST_TENANCY_OPTION_INVALID as `parseLimits()` does.
 */
export async function parseApart (path: string, name: string): Promise<LimitsParts> {
  const worker = workerFile()
  if (worker === undefined) return parseLimits(await readLimits(path, name), name)
  const thread = new Worker(worker, { workerData: { path, name }, stdout: true })
  thread.unref() // the process may exit before the worker
  const [parts] = await Promise.all([collect(thread.stdout), once(thread, 'exit')])
  return parts
}

/**
 * Returns undefined if a bundler moved this module into another file. Bundlers rewrite imports, but
 * not URLs in code.
 */
function workerFile (): URL | undefined {
  // Node strips the types of a source file that runs directly. A CommonJS bundle has no
  // `import.meta.url`.
  const here: string | undefined = import.meta.url
  if (!here) return undefined
  const file = new URL(here.endsWith('.ts') ? './parse-worker.ts' : './parse-worker.js', here)
  return /\/parse-apart\.[jt]s$/.test(here) && existsSync(file) ? file : undefined
}

async function collect (lines: Readable): Promise<LimitsParts> {
  let rest: Omit<LimitsParts, 'tenants'> = { default: {}, anonymous: {}, plans: new Map() }
  const tenants = new Map<string, LimitFields>()
  for await (const text of createInterface({ input: lines })) {
    const line = JSON.parse(text) as Line
    if ('problem' in line) throw new OptionInvalidError(line.problem)
    if ('plans' in line) rest = { ...line, plans: new Map(line.plans) }
    else for (const [tenant, fields] of line.tenants) tenants.set(tenant, fields)
    await setImmediate() // one event-loop tick per slice, even if many have arrived
  }
  return { ...rest, tenants }
}
