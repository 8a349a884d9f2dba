import type { FastifyInstance } from 'fastify'

import type { ConsoleTenancy } from '../data/suite.ts'
import { PoolHistory } from './pool-history.ts'
import { sampleMs, UsageHistory } from './usage-history.ts'

/** What the process did in the last 15 minutes. */
export interface Samples {
  readonly pools: PoolHistory
  /** Undefined without telemetry: then nothing is counted, and the pages say so. */
  readonly usage: UsageHistory | undefined
}

/** Takes samples while the application is open. */
export function takeSamples (app: FastifyInstance, tenancy: ConsoleTenancy): Samples {
  const pools = new PoolHistory(() => tenancy.health())
  const usage = tenancy.usage && new UsageHistory(tenancy.usage.bind(tenancy))
  const sample = (): void => {
    pools.sample()
    usage?.sample()
  }
  let timer: NodeJS.Timeout | undefined
  app.addHook('onReady', async () => {
    sample()
    timer = setInterval(sample, sampleMs).unref()
  })
  app.addHook('preClose', async () => clearInterval(timer))
  return { pools, usage }
}
