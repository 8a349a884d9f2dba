import type { TenantRef } from '@fastify-tenancy/core'
import type { MigrateInput, MigrateReport, MigrationFailedError,
  MigrationState } from '@fastify-tenancy/manager'
import { InvalidArgumentError, type Command } from 'commander'

import { slugOrId, parseRef } from '../run/ref.ts'
import { exitCode, type Runner } from '../run/runner.ts'
import { confirm, UsageError } from '../terminal/confirm.ts'
import { textTable, type Output } from '../terminal/output.ts'

interface MigrateFlags {
  readonly check?: boolean
  readonly shared?: boolean
  readonly tenants?: boolean
  readonly only?: TenantRef
  readonly schema?: string
  readonly jobs: number
  readonly canary?: number
  readonly continue?: boolean
  readonly dryRun?: boolean
  readonly down?: number
}

export function addMigrateCommands (program: Command, runner: Runner): void {
  program.command('migrate').description(
    'bring the shared tables and all tenants to the newest migration; goes on where an earlier run stopped'
  )
    .option(
      '--check',
      'run the pending migrations of both sets (those of the tenants on one tenant), ' +
        'hold the tables against the configuration, and take all back; what it touches stays locked ' +
        'until then: try what takes long on a copy of the database'
    )
    .option('--shared', 'the shared tables only')
    .option('--tenants', 'the tenants only')
    .option('--only <tenant>', 'one tenant, by its slug or id:…', parseRef)
    .option('--schema <name>', 'the tenant of one schema')
    .option('--jobs <n>', 'how many tenants at a time', parseCount, 4)
    .option('--canary <n>', 'so many tenants first; the rest only when these are well', parseCount)
    .option('--continue', 'go on with the others when one fails')
    .option('--dry-run', 'change nothing, and count what would run')
    .option('--down <n>', 'take the newest migrations of --only back', parseCount)
    .action(
      runner.action<[], MigrateFlags>(
        async (
          { manager, output, streams, signal },
          _,
          {
            check = false,
            dryRun = false,
            continue: goesOn = false,
            jobs,
            shared,
            tenants,
            only,
            schema,
            canary,
            down,
            yes
          }
        ) => {
          if (down !== undefined) {
            if (only === undefined) throw new UsageError('--down needs one tenant: add --only')
            if (check || dryRun)
              throw new UsageError('--down takes migrations back for real: leave --check and --dry-run out')
            const name = slugOrId(only)
            if (
              !await confirm(streams, {
                what: `taking migrations of ${name} back, with what they hold,`,
                name,
                yes
              })
            ) return exitCode.failed
            const taken = await manager.migrateDown(only, { steps: down })
            return output.result(
              taken,
              () => taken.length === 0 ? 'nothing to take back' : `taken back: ${taken.join(', ')}`
            )
          }
          const set = shared === tenants ? undefined : shared === true ? 'shared' : 'tenant'
          const input: MigrateInput = {
            check,
            dryRun,
            jobs,
            continue: goesOn,
            signal,
            ...(set !== undefined && { set }),
            ...(only !== undefined && { only }),
            ...(schema !== undefined && { schema }),
            ...(canary !== undefined && { canary })
          }
          try {
            print(output, await manager.migrate(input))
          } catch (error) {
            if (!isFailure(error))
              throw error
            output.log(`error: ${error.message}`)
            print(output, error.report)
            return exitCode.failed
          }
        }
      )
    )

  program.command('status').description('which migration the shared tables and each tenant are at')
    .action(runner.action(async ({ manager, output }) => {
      const { shared, tenants, unreachable } = await manager.status()
      output.result(
        { shared, tenants, unreachable },
        () =>
          textTable(['', 'migration', 'behind', 'problem'], [
            ...shared.map(standing => row(`shard ${standing.shard}`, standing)),
            ...tenants.map(standing => row(standing.slug, standing))
          ])
      )
      for (const { error, tenants } of unreachable) {
        output.log(`error: ${error}${tenants > 0 ? `; ${tenants} tenants there were not looked at` : ''}`)
      }
      return unreachable.length > 0 ? exitCode.failed : exitCode.done
    }))
}

function row (
  place: string,
  { version, pending, problem, failure }: MigrationState
): readonly (string | number)[] {
  return [place, version ?? 'none', pending.length, problem ?? failure?.error ?? '']
}

function print (output: Output, report: MigrateReport): void {
  const { shared, tenants, failures, unrehearsed } = report
  const told = {
    shared,
    tenants,
    failures: failures.map(({ error: { message }, ...failure }) => ({ ...failure, error: message })),
    unrehearsed
  }
  output.result(told, () =>
    [
      ...shared.map(({ shard, applied, unlisted, unprotected }) =>
        [
          `shared tables of shard ${shard}: ${applied.length === 0 ? 'nothing to do' : applied.join(', ')}`,
          ...(unprotected.length > 0
            ? [`with rows of tenants and without a policy: ${unprotected.join(', ')}`]
            : []),
          ...(unlisted.length > 0
            ? [`in no list of the configuration, and so of no use to the application: ${unlisted.join(', ')}`]
            : [])
        ].join('\n')
      ),
      `tenants: ${Object.entries(tenants).map(([end, count]) => `${count} ${end}`).join(', ')}`,
      ...(unrehearsed.length > 0
        ? [`not tried, since the first of them runs outside a transaction: ${unrehearsed.join(', ')}`]
        : []),
      ...told.failures.map(({ slug, shard, migration, error }) =>
        `failed: ${slug ?? `shard ${shard}`}${migration === undefined ? '' : ` at ${migration}`}: ${error}`
      )
    ].join('\n'))
}

function isFailure (error: unknown): error is MigrationFailedError {
  return error instanceof Error && 'report' in error
}

function parseCount (text: string): number {
  const count = Number(text)
  if (!Number.isInteger(count) || count < 1) throw new InvalidArgumentError('write a whole number from 1.')
  return count
}
