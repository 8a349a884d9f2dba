import { OptionInvalidError, type TenantUsage } from '@fastify-tenancy/core'
import type { FleetUsage } from '@fastify-tenancy/manager'
import type { Command } from 'commander'

import { readMetrics } from '../run/metrics.ts'
import { exitCode, type Runner } from '../run/runner.ts'
import { textTable, type Output } from '../terminal/output.ts'

interface TopFlags {
  readonly seconds: string
  readonly top: string
  readonly metrics?: string
}

/** What is printed as JSON: {@link FleetUsage}, and the same from one process' metrics. */
type Shown = Pick<FleetUsage, 'seconds' | 'processes' | 'tenants' | 'other' | 'none'>

export function addTopCommand (program: Command, runner: Runner): void {
  const throughRedis = runner.action<[], TopFlags>(async ({ manager, output, signal }, _args, flags) => {
    const [seconds, top] = [wholeNumber(flags.seconds, '--seconds'), wholeNumber(flags.top, '--top')]
    output.log(`the applications count for ${seconds} s`)
    const usage = await manager.usage({ seconds, top, signal })
    if (usage.processes.length > 0) {
      show(output, usage)
      return exitCode.done
    }
    output.log(
      'error: no running application answered: start an application with this Redis, ' +
        'or read its metrics with --metrics <url>'
    )
    output.result(usage, () => '')
    return exitCode.failed
  })
  const fromMetrics = runner.plain<[], TopFlags>(async (output, _args, { metrics = '', ...flags }) => {
    const [seconds, top] = [wholeNumber(flags.seconds, '--seconds'), wholeNumber(flags.top, '--top')]
    show(output, await readMetrics(metrics, seconds, top))
  })
  program.command('top')
    .description('tenants by time in the database, requests and refusals, from the running applications')
    .option('--seconds <n>', 'for how long the applications count', '5')
    .option('--top <n>', 'how many tenants', '20')
    .option('--metrics <url>', "one process' Prometheus metrics, instead of all processes through Redis")
    .action((...input: unknown[]) => {
      const { metrics } = (input.at(-1) as Command).opts<TopFlags>()
      return (metrics === undefined ? throughRedis : fromMetrics)(...input)
    })
}

function show (output: Output, usage: Shown): void {
  const { tenants, other, none, processes, seconds } = usage
  output.log(`${processes.length === 1 ? '1 process' : `${processes.length} processes`}, ${seconds} s`)
  const total = [...tenants, other].reduce((sum, { databaseTime }) => sum + databaseTime, 0)
  const line = (name: string, id: string, { databaseTime, ...each }: TenantUsage): (string | number)[] => [
    name,
    id,
    (databaseTime / 1_000 / seconds).toFixed(2),
    total === 0 ? '' : `${Math.round(100 * databaseTime / total)} %`,
    Math.round(each.statements / seconds),
    Math.round(each.requests / seconds),
    Math.round(each.refusals / seconds)
  ]
  output.result(
    usage,
    () =>
      textTable(['TENANT', 'ID', 'DB s/s', 'SHARE', 'STATEMENTS/s', 'REQUESTS/s', 'REFUSALS/s'], [
        ...tenants.map(each => line(each.slug, each.id, each)),
        line('(other tenants)', '', other),
        line('(no tenant)', '', none)
      ])
  )
}

function wholeNumber (text: string, flag: string): number {
  const number = Number(text)
  if (Number.isSafeInteger(number) && number > 0 && number <= 1_000) return number
  throw new OptionInvalidError(`${flag} must be a whole number from 1 to 1000, got '${text}'`)
}
