import type { TenantRef } from '@fastify-tenancy/core'
import type { DeleteReport } from '@fastify-tenancy/manager'
import { Argument, type Command } from 'commander'

import { slugOrId, parseRef } from '../run/ref.ts'
import { exitCode, type Runner } from '../run/runner.ts'
import { confirm, UsageError } from '../terminal/confirm.ts'
import { textTable } from '../terminal/output.ts'

interface DeleteFlags {
  readonly dryRun?: boolean
  readonly grace?: string
  readonly keepData?: boolean
}

export function addEndCommands (program: Command, runner: Runner): void {
  program.command('delete').argument('<tenant>', 'slug or id:…', parseRef).description(
    "refuse a tenant's requests from now on, and have it purged when the grace period is over"
  )
    .option('--dry-run', 'change nothing, and count what would be removed')
    .option('--grace <duration>', 'how long resume takes it back (default: 7d)')
    .option('--keep-data', 'leave its rows, schema or database where they are')
    .action(
      runner.action<[TenantRef], DeleteFlags>(
        async ({ manager, output, streams }, [ref], { dryRun = false, grace, keepData = false, yes }) => {
          const name = slugOrId(ref)
          if (!dryRun && !await confirm(streams, { what: `the deletion of ${name}`, name, yes }))
            return exitCode.failed
          const report = await manager.delete(ref, {
            dryRun,
            keepData,
            ...(grace !== undefined && { grace })
          })
          output.result(report, () =>
            dryRun
              ? [textTable(['table', 'rows'], Object.entries(report.rows ?? {})), ...obstacles(report)].join(
                '\n'
              )
              : `${name} is refused from now on, and may be purged from ${report.due.toISOString()}; ` +
                'until then tenancy resume takes it back')
        }
      )
    )

  program.command('purge').addArgument(new Argument('[tenant]', 'slug or id:…').argParser(parseRef))
    .description('remove the data of a deleted tenant for good')
    .option('--due', 'of all whose grace period is over')
    .action(
      runner.action<[TenantRef | undefined], { due?: boolean }>(
        async ({ manager, output, streams }, [ref], { due = false, yes }) => {
          if ((ref === undefined) !== due) throw new UsageError('name a tenant or use --due, and not both')
          const what = ref === undefined ? 'all that are due' : slugOrId(ref)
          if (
            !await confirm(streams, {
              what: `the purge of ${what}`,
              name: ref === undefined ? 'due' : what,
              yes
            })
          ) return exitCode.failed
          const { purged, failed } = ref === undefined
            ? await manager.purgeDue()
            : { purged: [await manager.purge(ref)], failed: [] }
          const failures = failed.map(({ id, error }) => ({
            id,
            error: error instanceof Error ? error.message : String(error)
          }))
          for (const { id, error } of failures) output.log(`error: id:${id}: ${error}`)
          output.result({ purged, failed: failures }, () =>
            textTable(
              ['tenant', 'rows removed'],
              purged.map((
                { tenant, rows }
              ) => [tenant.slug, Object.values(rows).reduce((sum, count) => sum + count, 0)])
            ))
          return failures.length > 0 ? exitCode.failed : exitCode.done
        }
      )
    )

  program.command('prune-audit').description('remove old entries of the audit, which nothing else can')
    .requiredOption('--older-than <age>', 'how old, such as 365d')
    .action(
      runner.action<[], { olderThan: string }>(
        async ({ manager, output, streams }, _, { olderThan, yes }) => {
          if (
            !await confirm(streams, {
              what: `the removal of entries older than ${olderThan}`,
              name: 'audit',
              yes
            })
          ) return exitCode.failed
          const removed = await manager.pruneAudit({ olderThan })
          output.result({ removed }, () => `${removed} entries of the audit were removed`)
          return exitCode.done
        }
      )
    )
}

function obstacles ({ dependents = [], grants = [], grantsElsewhere = [] }: DeleteReport): string[] {
  return [
    ...dependents.map(what => `refuses the purge: ${what} depends on the tenant's schema or role`),
    ...grantsElsewhere.map(what => `refuses the purge: the tenant's role has privileges on ${what}`),
    ...grants.map(what => `ends with the tenant's role: its privileges on ${what}`)
  ]
}
