import { quoteName, sqlState } from '@fastify-tenancy/database'
import type pg from 'pg'

import type { ManagerContext } from '../context.ts'
import { carrySequences, sequenceProblem } from './carry.ts'
import { digestLines } from './copy.ts'
import { Digester } from './digester.ts'
import { ImportRefusedError } from './errors.ts'
import { countRows, formProblem, keyProblem } from './fit.ts'
import type { Home } from './home.ts'
import { linesOf } from './lines.ts'
import { findForeignParent, loadTables } from './load.ts'
import type { Manifest, ManifestTable } from './manifest.ts'
import { linesOfFile, type Export } from './read-export.ts'
import { aheadProblem, rowPositions } from './object-file.ts'
import { readSequences } from './sequences.ts'
import { readFurthestIds, strayProblem } from './stray-ids.ts'
import { inSession } from './session.ts'
import { readTables, type TenantTable } from './tables.ts'
import { mostQuiet, namedTriggers, quietInserts, readTriggers } from './triggers.ts'
import { wholeProblem } from './whole.ts'
import { retried } from './retried.ts'

/**
 * Why an export cannot go into a home, as far as can be told before a row is written.
 *
 * @throws FST_TENANCY_IMPORT_REFUSED
 */
export async function assertFits (
  context: ManagerContext,
  home: Home,
  { manifest, objects }: Export
): Promise<void> {
  const { tables: listed } = context.options
  await inSession(home, { shared: listed.schema, isSnapshot: true }, async client => {
    const tables = await readTables(client, home, listed)
    refuse(formProblem(manifest.tables, tables, manifest.migration))
    refuse(await wholeProblem(client, home, tables, true))
    refuse(await keyProblem(client, home, manifest.tables, tables))
    refuse(
      sequenceProblem(objects?.sequences ?? [], await readSequences(client, home, tables), home.isShared)
    )
    if (await countRows(client, home, tables, tables.map(({ name }) => name)) > 0)
      refuse('rows of a tenant of this id are there already: import as another id')
  })
}

/**
 * Writes the rows of an export into a home, all or none, and reads them again: what has come out must be what the export holds, to the
 * last character. Rows that are there were written by a call that was cut short after this, and are only compared.
 *
 * @throws FST_TENANCY_IMPORT_REFUSED
 */
export async function importRows (context: ManagerContext, home: Home, source: Export): Promise<void> {
  const { manifest } = source
  const { tables: listed } = context.options
  const names = manifest.tables.map(({ name }) => name)
  const carried = await inSession(home, { shared: listed.schema }, async client => {
    const tables = await readTables(client, home, listed)
    refuse(formProblem(manifest.tables, tables, manifest.migration))
    refuse(await wholeProblem(client, home, tables, true))
    const sequences = await readSequences(client, home, tables)
    refuse(sequenceProblem(source.objects?.sequences ?? [], sequences, home.isShared))
    const isThere = home.isShared && await countRows(client, home, tables, names) > 0
    if (!isThere) refuse(await keyProblem(client, home, manifest.tables, tables))
    if (!isThere) await write(context, client, { home, tables, source })
    const stranger = await findForeignParent(client, home, tables)
    if (stranger !== undefined)
      refuse(`a row of table '${stranger}' points at a row that is not in the export`)
    for (const table of manifest.tables) await assertSame(client, home, tables, table)
    const told = source.objects?.sequences ?? await rowPositions(client, home, tables, sequences)
    if (source.objects === undefined && home.isShared) refuse(aheadProblem(told, sequences))
    if (home.isShared)
      refuse(
        strayProblem(await readFurthestIds(client, home, tables, sequences), told, {
          home,
          tables,
          sequences
        })
      )
    return { told, sequences }
  }).catch((error: unknown) => {
    const state = sqlState(error) ?? ''
    if (!state.startsWith('22') && !state.startsWith('23')) throw error
    throw new ImportRefusedError(
      `the rows do not fit the tables (${describe(error)}): export again, or mend what differs`,
      { cause: error }
    )
  })
  await retried(undefined, () => carrySequences(home, carried.told, carried.sequences, false))
}

async function write (
  context: ManagerContext,
  client: pg.PoolClient,
  { home, tables, source: { folder, manifest, objects } }: {
    home: Home
    tables: readonly TenantTable[]
    source: Export
  }
): Promise<void> {
  // What migrations put into a home of the tenant's own is in the export, as the tenant left it.
  await emptyTables(client, home, manifest.tables)
  const speak = await quietInserts(
    client,
    home,
    tables,
    isSmall(home, manifest) ? objects?.triggers ?? [] : []
  )
  await loadTables(client, {
    home,
    tables,
    sourceOf (table) {
      const given = manifest.tables.find(({ name }) => name === table.name)
      return given && given.rows > 0 ? { lines: checkedLines(folder, given) } : undefined
    },
    onRows: (step, done) =>
      context.options.progress?.({
        operation: 'import',
        tenant: home.tenant,
        step,
        done,
        total: manifest.tables.find(({ name }) => name === step)?.rows ?? done
      })
  })
  await speak()
}

// In shared tables, others wait while triggers are off.
function isSmall (home: Home, { tables }: Manifest): boolean {
  return !home.isShared || tables.reduce((sum, { rows }) => sum + rows, 0) <= mostQuiet
}

/** Empties tables of a home of the tenant's own; shared ones stay as they are. */
export async function emptyTables (
  client: pg.PoolClient,
  home: Home,
  tables: readonly { readonly name: string }[]
): Promise<void> {
  if (home.isShared || tables.length === 0) return
  await client.query(
    `truncate ${tables.map(({ name }) => `${quoteName(home.schema)}.${quoteName(name)}`).join(', ')}`
  )
}

// They were read and checked once; whoever changes the file meanwhile changes its checksum.
async function* checkedLines (folder: string, table: ManifestTable): AsyncGenerator<string> {
  const digester = new Digester()
  yield* linesOfFile(folder, table, digester)
  if (digester.digest().sha256 !== table.sha256)
    refuse(`the rows of table '${table.name}' changed while they were imported`)
}

async function assertSame (
  client: pg.PoolClient,
  home: Home,
  tables: readonly TenantTable[],
  given: ManifestTable
): Promise<void> {
  const table = tables.find(({ name }) => name === given.name)
  if (table === undefined) return
  const { rows, sha256 } = await digestLines(
    client,
    linesOf(home, tables, table, { columns: table.columns, order: given.order })
  )
  if (rows !== given.rows || sha256 !== given.sha256) {
    const triggers = namedTriggers(await readTriggers(client, home, tables, 'insert'))
    refuse(
      `table '${given.name}' came out with other rows than the export has: ${
        triggers === undefined
          ? "these rows are another import's"
          : `${triggers} may change or add rows (disable it for the import), or these rows are another import's`
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
