import { sqlState } from '@fastify-tenancy/postgres/client'
import type pg from 'pg'

import type { ManagerContext } from '../context/context.ts'
import { applyChanges } from '../move/apply.ts'
import { NeedsFullCopyError } from '../move/errors.ts'
import { withPlacement, type RowPlacement, type TenantPlacement } from '../placement/tenant-placement.ts'
import { digestLines } from '../tenant-rows/copy.ts'
import { Digester } from '../tenant-rows/digester.ts'
import { schemaMismatch } from '../tenant-rows/fit.ts'
import { linesOf } from '../tenant-rows/lines.ts'
import { findForeignParent } from '../tenant-rows/load.ts'
import type { Manifest } from '../tenant-rows/manifest.ts'
import { linesOfFile, type Export } from '../tenant-rows/read-export.ts'
import { inTransactionOn } from '../tenant-rows/session.ts'
import { readTables, type TransferTable } from '../tenant-rows/tables.ts'
import { readVersion } from '../transfer/version.ts'
import { RestoreRefusedError } from './errors.ts'
import { rowsOutside } from './outside.ts'
import { stageRows, type RestoredTable, type TableChanges } from './stage-rows.ts'

/** Changed rows by table. Tables with equal rows are omitted. */
export type RestoredRows = Readonly<Record<string, TableChanges>>

/**
 * Changes a tenant's rows to those of an export, in one transaction. Equal rows are not written.
 * Each table is then compared with the export, by count and checksum.
 *
 * @throws FST_TENANCY_RESTORE_REFUSED
 */
export async function applyExport (
  context: ManagerContext,
  tenant: TenantPlacement,
  source: Export
): Promise<RestoredRows> {
  const { tables: listed } = context.options
  return withPlacement(
    context,
    tenant,
    placement =>
      inTransactionOn(placement, { shared: listed.schema }, async client => {
        const tables = await readTables(client, placement, listed)
        await assertSameForm(client, tenant, source.manifest, tables)
        const restored = pairsOf(tables, source.manifest)
        const changes = await stageRows(client, {
          placement,
          tables,
          restored,
          linesOf: table => checkedLines(source, table.name),
          onRows: (step, done) =>
            context.options.progress?.({ operation: 'restore', tenant: tenant.id, step, done })
        })
        const differing = restored.filter(({ table }) => changes.has(table.name))
        const outside = await rowsOutside(client, placement, tables, differing, changes)
        if (outside.length > 0) {
          throw new RestoreRefusedError(
            `rows outside the tenant's tables refer to rows that the restore removes: ${
              outside.join(', ')
            }; remove or change these references, then restore again`
          )
        }
        await apply(client, placement, tables, differing, changes)
        await verify(client, placement, tables, restored, source.manifest)
        return Object.fromEntries(changes)
      })
  ).catch(refused)
}

async function assertSameForm (
  client: pg.PoolClient,
  tenant: TenantPlacement,
  { tables: exported, migration }: Manifest,
  tables: readonly TransferTable[]
): Promise<void> {
  const current = await readVersion(client, tenant)
  if (current !== migration) {
    throw new RestoreRefusedError(
      `the source is at migration ${migration ?? 'none'} and the tenant at ${
        current ?? 'none'
      }: migrate both to the same version first`
    )
  }
  const problem = schemaMismatch(exported, tables, migration)
  if (problem !== undefined) throw new RestoreRefusedError(problem)
  const missing = tables.find(({ name }) => !exported.some(table => table.name === name))
  if (missing !== undefined) {
    throw new RestoreRefusedError(
      `table '${missing.name}' is not in the source, so its earlier rows are unknown: use an export with it`
    )
  }
}

function pairsOf (
  tables: readonly TransferTable[],
  { tables: exported }: Manifest
): readonly RestoredTable[] {
  return tables.map(table => {
    const { columns = [], order = [] } = exported.find(({ name }) => name === table.name) ?? {}
    const inOrder = columns.map(({ name }) => table.columns.find(column => column.name === name))
    return { table, like: { ...table, order, columns: inOrder.filter(column => column !== undefined) } }
  })
}

async function apply (
  client: pg.PoolClient,
  placement: RowPlacement,
  tables: readonly TransferTable[],
  differing: readonly RestoredTable[],
  changes: ReadonlyMap<string, TableChanges>
): Promise<void> {
  if (differing.length === 0) return
  const counts = new Map(
    Array.from(changes, ([name, { added, changed, removed }]) => [name, added + changed + removed])
  )
  await applyChanges(
    { placement, client, tables: differing.map(({ like }) => like) },
    { placement, client, tables },
    counts
  )
}

async function verify (
  client: pg.PoolClient,
  placement: RowPlacement,
  tables: readonly TransferTable[],
  restored: readonly RestoredTable[],
  manifest: Manifest
): Promise<void> {
  const stranger = await findForeignParent(client, placement, tables)
  if (stranger !== undefined) {
    throw new RestoreRefusedError(`a row of table '${stranger}' refers to a row that is not in the source`)
  }
  for (const { table, like } of restored) {
    const expected = manifest.tables.find(({ name }) => name === table.name)
    const { rows, sha256 } = await digestLines(client, linesOf(placement, tables, table, like))
    if (rows !== expected?.rows || sha256 !== expected.sha256) {
      throw new RestoreRefusedError(
        `table '${table.name}' differs from the source after the restore: its triggers add or change rows`
      )
    }
  }
}

// The checksum was compared when the export was read. If the file changes meanwhile, its checksum
// changes, too.
async function* checkedLines ({ folder, manifest }: Export, name: string): AsyncGenerator<string> {
  const table = manifest.tables.find(candidate => candidate.name === name)
  if (table === undefined) return
  const digester = new Digester()
  yield* linesOfFile(folder, table, digester)
  if (digester.digest().sha256 !== table.sha256) {
    throw new RestoreRefusedError(
      `the rows of table '${name}' changed in the export while they were restored`
    )
  }
}

function refused (error: unknown): never {
  if (error instanceof NeedsFullCopyError) {
    throw new RestoreRefusedError(
      `the rows cannot be changed in place, because ${error.message}: restore when fewer rows differ`,
      { cause: error }
    )
  }
  const state = sqlState(error) ?? ''
  if (!state.startsWith('22') && !state.startsWith('23')) throw error
  const { table, constraint } = error as pg.DatabaseError
  const target = [table && `table '${table}'`, constraint && `constraint '${constraint}'`].filter(Boolean)
    .join(', ')
  throw new RestoreRefusedError(
    `the rows do not fit the tables${
      target === '' ? '' : ` (${target})`
    }: see the cause for PostgreSQL's message`,
    { cause: error }
  )
}
