import { quoteName, sqlState } from '@fastify-tenancy/postgres/client'
import type pg from 'pg'

import type { ManagerContext } from '../context/context.ts'
import type { RowPlacement } from '../placement/tenant-placement.ts'
import { carrySequences, sequenceProblem } from './carry.ts'
import { digestLines } from './copy.ts'
import { Digester } from './digester.ts'
import { ImportRefusedError } from './errors.ts'
import { countTableRows, schemaMismatch, keyProblem } from './fit.ts'
import { linesOf } from './lines.ts'
import { findForeignParent, loadTables } from './load.ts'
import type { Manifest, ManifestTable } from './manifest.ts'
import { aheadProblem, rowPositions } from './object-file.ts'
import { linesOfFile, type Export } from './read-export.ts'
import { retriedRows } from './retried-rows.ts'
import { readSequences } from './sequences.ts'
import { inTransactionOn } from './session.ts'
import { readFurthestIds, strayProblem } from './stray-ids.ts'
import { readTables, type TransferTable } from './tables.ts'
import { mostQuiet, namedTriggers, quietInserts, readTriggers } from './triggers.ts'
import { wholeProblem } from './whole.ts'

/**
 * Checks, before a row is written, that an export can be imported into a placement.
 *
 * @throws FST_TENANCY_IMPORT_REFUSED
 */
export async function assertFits (
  context: ManagerContext,
  placement: RowPlacement,
  { manifest, objects }: Export
): Promise<void> {
  const { tables: listed } = context.options
  await inTransactionOn(placement, { shared: listed.schema, isSnapshot: true }, async client => {
    const tables = await readTables(client, placement, listed)
    refuse(schemaMismatch(manifest.tables, tables, manifest.migration))
    refuse(await wholeProblem(client, placement, tables, true))
    refuse(await keyProblem(client, placement, manifest.tables, tables))
    refuse(
      sequenceProblem(
        objects?.sequences ?? [],
        await readSequences(client, placement, tables),
        placement.isShared
      )
    )
    if (await countTableRows(client, placement, tables, tables.map(({ name }) => name)) > 0)
      refuse('the tables already contain rows of a tenant with this id: import with another id')
  })
}

/**
 * Writes the rows of an export into a placement, all or none, and compares the result with the
 * export. Existing rows were written by an interrupted call of this function and are only compared.
 *
 * @throws FST_TENANCY_IMPORT_REFUSED
 */
export async function importRows (
  context: ManagerContext,
  placement: RowPlacement,
  source: Export
): Promise<void> {
  const { manifest } = source
  const { tables: listed } = context.options
  const names = manifest.tables.map(({ name }) => name)
  const carried = await inTransactionOn(placement, { shared: listed.schema }, async client => {
    const tables = await readTables(client, placement, listed)
    refuse(schemaMismatch(manifest.tables, tables, manifest.migration))
    refuse(await wholeProblem(client, placement, tables, true))
    const sequences = await readSequences(client, placement, tables)
    refuse(sequenceProblem(source.objects?.sequences ?? [], sequences, placement.isShared))
    const isThere = placement.isShared && await countTableRows(client, placement, tables, names) > 0
    if (!isThere) refuse(await keyProblem(client, placement, manifest.tables, tables))
    if (!isThere) await write(context, client, { placement, tables, source })
    const stranger = await findForeignParent(client, placement, tables)
    if (stranger !== undefined)
      refuse(`a row of table '${stranger}' refers to a row that is not in the export`)
    for (const table of manifest.tables) await assertSame(client, placement, tables, table)
    const told = source.objects?.sequences ?? await rowPositions(client, placement, tables, sequences)
    if (source.objects === undefined && placement.isShared) refuse(aheadProblem(told, sequences))
    if (placement.isShared)
      refuse(
        strayProblem(await readFurthestIds(client, placement, tables, sequences), told, {
          placement,
          tables,
          sequences
        })
      )
    return { told, sequences }
  }).catch((error: unknown) => {
    const state = sqlState(error) ?? ''
    if (!state.startsWith('22') && !state.startsWith('23')) throw error
    throw new ImportRefusedError(
      `the rows do not fit the tables (${describe(error)}): correct the tables, or export again`,
      { cause: error }
    )
  })
  await retriedRows(undefined, () => carrySequences(placement, carried.told, carried.sequences, false))
}

async function write (
  context: ManagerContext,
  client: pg.PoolClient,
  { placement, tables, source: { folder, manifest, objects } }: {
    placement: RowPlacement
    tables: readonly TransferTable[]
    source: Export
  }
): Promise<void> {
  // Deletes rows that migrations inserted into the tenant's own tables. The export has them as the
  // tenant left them.
  await emptyTables(client, placement, manifest.tables)
  const speak = await quietInserts(
    client,
    placement,
    tables,
    isSmall(placement, manifest) ? objects?.triggers ?? [] : []
  )
  await loadTables(client, {
    placement,
    tables,
    sourceOf (table) {
      const input = manifest.tables.find(({ name }) => name === table.name)
      return input && input.rows > 0 ? { lines: checkedLines(folder, input) } : undefined
    },
    onRows: (step, done) =>
      context.options.progress?.({
        operation: 'import',
        tenant: placement.tenant,
        step,
        done,
        total: manifest.tables.find(({ name }) => name === step)?.rows ?? done
      })
  })
  await speak()
}

// Whether triggers may be disabled. In tenant tables, writes of other tenants wait meanwhile.
function isSmall (placement: RowPlacement, { tables }: Manifest): boolean {
  return !placement.isShared || tables.reduce((sum, { rows }) => sum + rows, 0) <= mostQuiet
}

/** Truncates tables of the tenant's own placement; tenant tables are not touched. */
export async function emptyTables (
  client: pg.PoolClient,
  placement: RowPlacement,
  tables: readonly { readonly name: string }[]
): Promise<void> {
  if (placement.isShared || tables.length === 0) return
  await client.query(
    `truncate ${tables.map(({ name }) => `${quoteName(placement.schema)}.${quoteName(name)}`).join(', ')}`
  )
}

// The file was checked before. If it changes during the import, its checksum changes, too.
async function* checkedLines (folder: string, table: ManifestTable): AsyncGenerator<string> {
  const digester = new Digester()
  yield* linesOfFile(folder, table, digester)
  if (digester.digest().sha256 !== table.sha256)
    refuse(`the rows of table '${table.name}' changed while they were imported`)
}

async function assertSame (
  client: pg.PoolClient,
  placement: RowPlacement,
  tables: readonly TransferTable[],
  input: ManifestTable
): Promise<void> {
  const table = tables.find(({ name }) => name === input.name)
  if (table === undefined) return
  const { rows, sha256 } = await digestLines(
    client,
    linesOf(placement, tables, table, { columns: table.columns, order: input.order })
  )
  if (rows !== input.rows || sha256 !== input.sha256) {
    const triggers = namedTriggers(await readTriggers(client, placement, tables, 'insert'))
    refuse(
      `table '${input.name}' differs from the export after the import: ${
        triggers === undefined
          ? 'the rows are from another import'
          : `${triggers} may change or add rows (disable it for the import), ` +
            'or the rows are from another import'
      }`
    )
  }
}

function describe (error: unknown): string {
  const { table, constraint, column } = error as pg.DatabaseError
  return [['table', table], ['constraint', constraint], ['column', column]].filter(([, name]) =>
    name !== undefined
  ).map(pair => pair.join(' ')).join(', ') || "a value is not of its column's type"
}

function refuse (problem: string | undefined): void {
  if (problem !== undefined) throw new ImportRefusedError(problem)
}
