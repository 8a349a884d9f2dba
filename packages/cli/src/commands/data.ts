import { isolations, type Isolation, type TenantRef } from '@fastify-tenancy/core'
import type { RestoreReport } from '@fastify-tenancy/manager'
import { InvalidArgumentError, type Command } from 'commander'

import { slugOrId, parseRef } from '../run/ref.ts'
import { exitCode, type Runner } from '../run/runner.ts'
import { confirm, UsageError } from '../terminal/confirm.ts'
import { textTable } from '../terminal/output.ts'
import { described } from './tenant.ts'

interface MoveTarget {
  readonly isolation: Isolation
  readonly shard?: string
}

interface MoveFlags {
  readonly to?: MoveTarget
  readonly confirm?: boolean
  readonly cancel?: boolean
}

export function addDataCommands (program: Command, runner: Runner): void {
  program.command('export').argument('<tenant>', 'slug or id:…', parseRef).description(
    "write all of a tenant's rows, of one moment, into a folder"
  )
    .requiredOption('--to <folder>', 'the folder, which must not exist')
    .option('--force', 'replace a folder that exists')
    .action(
      runner.action<[TenantRef], { to: string; force?: boolean }>(
        async ({ manager, output, signal }, [ref], { to, force = false }) => {
          const manifest = await manager.export(ref, { to, force, signal })
          output.result(
            manifest,
            () =>
              `${slugOrId(ref)} is in ${to}: ${manifest.tables.length} tables, ${
                manifest.tables.reduce((sum, { rows }) => sum + rows, 0)
              } rows`
          )
        }
      )
    )

  program.command('import').argument('<folder>', 'what export wrote').description(
    'make a tenant of an export'
  )
    .requiredOption('--as <slug>', 'the slug of the new tenant')
    .option('--id <id>', 'its id (default: the one that was exported)')
    .option(
      '--isolation <strategy>',
      "how its rows are kept apart (default: the application's)",
      parseIsolation
    )
    .option('--shard <name>', 'the shard that it lives on (default: default)')
    .action(
      runner.action<[string], { as: string; id?: string; isolation?: Isolation; shard?: string }>(
        async ({ manager, output }, [folder], { as, id, isolation, shard }) => {
          const tenant = await manager.import(folder, {
            slug: as,
            ...(id !== undefined && { id }),
            ...(isolation !== undefined && { isolation }),
            ...(shard !== undefined && { shard })
          })
          output.result(tenant, () => `imported ${described(tenant)}`)
        }
      )
    )

  program.command('restore').argument('<tenant>', 'slug or id:…', parseRef)
    .description(
      "make a tenant's rows what they are in an export or in a restored copy of its database; " +
        'it is locked out meanwhile'
    )
    .requiredOption('--from <folder | URL>', 'the export, or the URL of the copy')
    .action(
      runner.action<[TenantRef], { from: string }>(
        async ({ manager, output, streams }, [ref], { from, yes }) => {
          const name = slugOrId(ref)
          if (
            !await confirm(streams, {
              what: `the restore of ${name}, which removes what was written since,`,
              name,
              yes
            })
          ) return exitCode.failed
          const report = await manager.restore(ref, { from })
          output.result(report, () => restored(name, report))
        }
      )
    )

  program.command('move').argument('<tenant>', 'slug or id:…', parseRef).description(
    'take a tenant to another strategy or shard; the old copy is kept until --confirm'
  )
    .option('--to <isolation[:shard]>', 'where to', parseTarget)
    .option('--confirm', 'remove the old copy after a move')
    .option('--cancel', 'take back a move that was cut short')
    .action(
      runner.action<[TenantRef], MoveFlags>(
        async (
          { manager, output, streams },
          [ref],
          { to, confirm: isConfirmed = false, cancel = false, yes }
        ) => {
          const name = slugOrId(ref)
          if ([to, isConfirmed, cancel].filter(Boolean).length > 1)
            throw new UsageError('use only one of --to, --confirm and --cancel')
          if (isConfirmed) {
            if (!await confirm(streams, { what: `the removal of the old copy of ${name}`, name, yes }))
              return exitCode.failed
            const tenant = await manager.confirmMove(ref)
            return output.result(tenant, () => `the old copy of ${name} is removed`)
          }
          if (cancel) {
            const tenant = await manager.cancelMove(ref)
            return output.result(tenant, () => `the move is taken back: ${described(tenant)}`)
          }
          if (to === undefined) throw new UsageError('add --to, --confirm or --cancel')
          const tenant = await manager.move(ref, to)
          output.result(
            tenant,
            () =>
              `moved ${described(tenant)}, paused ${
                (tenant.paused / 1_000).toFixed(1)
              } s; tenancy move ${name} --confirm removes the old copy${
                tenant.note === undefined ? '' : `; ${tenant.note}`
              }`
          )
        }
      )
    )
}

function restored (name: string, { rows }: RestoreReport): string {
  const tables = Object.entries(rows)
  if (tables.length === 0) return `${name} has the rows of the source already: nothing was changed`
  return `${name} is restored\n${
    textTable(
      ['table', 'added', 'changed', 'removed'],
      tables.map(([table, { added, changed, removed }]) => [table, added, changed, removed])
    )
  }`
}

function parseIsolation (text: string): Isolation {
  const isolation = isolations.find(known => known === text)
  if (isolation === undefined) throw new InvalidArgumentError(`write one of ${isolations.join(', ')}.`)
  return isolation
}

function parseTarget (text: string): MoveTarget {
  const [, isolation = '', shard] = /^([^:]*)(?::(.+))?$/.exec(text) ?? []
  return { isolation: parseIsolation(isolation), ...(shard !== undefined && { shard }) }
}
