import { sqlState } from '@fastify-tenancy/database'
import type pg from 'pg'

import type { ManagerContext } from '../context.ts'
import { applyChanges } from '../move/apply.ts'
import { Unreplayable } from '../move/errors.ts'
import { digestLines } from '../transfer/copy.ts'
import { Digester } from '../transfer/digester.ts'
import { formProblem } from '../transfer/fit.ts'
import { withHome, type Home, type Housed } from '../transfer/home.ts'
import { linesOf } from '../transfer/lines.ts'
import { findForeignParent } from '../transfer/load.ts'
import type { Manifest } from '../transfer/manifest.ts'
import { linesOfFile, type Export } from '../transfer/read-export.ts'
import { inSession } from '../transfer/session.ts'
import { readTables, type TenantTable } from '../transfer/tables.ts'
import { readVersion } from '../transfer/version.ts'
import { RestoreRefusedError } from './errors.ts'
import { rowsOutside } from './outside.ts'
import { stageRows, type RestoredTable, type TableChanges } from './stage-rows.ts'

/** What a restore changed, by table. Tables whose rows were equal are left out. */
export type RestoredRows = Readonly<Record<string, TableChanges>>

/**
 * Makes a tenant's rows those of an export, in one transaction: what fails is taken back as a whole. Equal rows stay
 * untouched. Each table is then counted and compared with the checksum of the export.
 *
 * @throws FST_TENANCY_RESTORE_REFUSED
 */
export async function applyExport (
  context: ManagerContext,
  tenant: Housed,
  source: Export
): Promise<RestoredRows> {
  const { tables: listed } = context.options
  return withHome(context, tenant, home =>
    inSession(home, { shared: listed.schema }, async client => {
      const tables = await readTables(client, home, listed)
      await assertSameForm(client, tenant, source.manifest, tables)
      const restored = pairsOf(tables, source.manifest)
      const changes = await stageRows(client, {
        home,
        tables,
        restored,
        linesOf: table => checkedLines(source, table.name),
        onRows: (step, done) =>
          context.options.progress?.({ operation: 'restore', tenant: tenant.id, step, done })
      })
      const differing = restored.filter(({ table }) => changes.has(table.name))
      const outside = await rowsOutside(client, home, tables, differing, changes)
      if (outside.length > 0) {
        throw new RestoreRefusedError(
          `rows outside the tenant's tables refer to rows that the restore removes: ${
            outside.join(', ')
          }; remove or change these references, then restore again`
        )
      }
      await apply(client, home, tables, differing, changes)
      await verify(client, home, tables, restored, source.manifest)
      return Object.fromEntries(changes)
    })).catch(refused)
}

async function assertSameForm (
  client: pg.PoolClient,
  tenant: Housed,
  { tables: exported, migration }: Manifest,
  tables: readonly TenantTable[]
): Promise<void> {
  const current = await readVersion(client, tenant)
  if (current !== migration) {
    throw new RestoreRefusedError(
      `the source is at migration ${migration ?? 'none'} and the tenant at ${
        current ?? 'none'
      }: migrate one of the two to the other's level first`
    )
  }
  const problem = formProblem(exported, tables, migration)
  if (problem !== undefined) throw new RestoreRefusedError(problem)
  const missing = tables.find(({ name }) => !exported.some(table => table.name === name))
  if (missing !== undefined) {
    throw new RestoreRefusedError(
      `table '${missing.name}' is not in the source, so nothing says what its rows were: export with it`
    )
  }
}

function pairsOf (tables: readonly TenantTable[], { tables: exported }: Manifest): readonly RestoredTable[] {
  return tables.map(table => {
    const { columns = [], order = [] } = exported.find(({ name }) => name === table.name) ?? {}
    const inOrder = columns.map(({ name }) => table.columns.find(column => column.name === name))
    return { table, like: { ...table, order, columns: inOrder.filter(column => column !== undefined) } }
  })
}

async function apply (
  client: pg.PoolClient,
  home: Home,
  tables: readonly TenantTable[],
  differing: readonly RestoredTable[],
  changes: ReadonlyMap<string, TableChanges>
): Promise<void> {
  if (differing.length === 0) return
  const counts = new Map(
    Array.from(changes, ([name, { added, changed, removed }]) => [name, added + changed + removed])
  )
  await applyChanges(
    { home, client, tables: differing.map(({ like }) => like) },
    { home, client, tables },
    counts
  )
}

async function verify (
  client: pg.PoolClient,
  home: Home,
  tables: readonly TenantTable[],
  restored: readonly RestoredTable[],
  manifest: Manifest
): Promise<void> {
  const stranger = await findForeignParent(client, home, tables)
  if (stranger !== undefined) {
    throw new RestoreRefusedError(`a row of table '${stranger}' refers to a row that is not in the source`)
  }
  for (const { table, like } of restored) {
    const expected = manifest.tables.find(({ name }) => name === table.name)
    const { rows, sha256 } = await digestLines(client, linesOf(home, tables, table, like))
    if (rows !== expected?.rows || sha256 !== expected.sha256) {
      throw new RestoreRefusedError(
        `table '${table.name}' came out with other rows than the source has: triggers of the table add or change rows`
      )
    }
  }
}

// The checksums were compared when the export was read; a file that changes meanwhile changes its checksum.
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
  if (error instanceof Unreplayable) {
    throw new RestoreRefusedError(
      `the rows cannot be changed in place, because ${error.message}: restore when fewer rows differ`,
      { cause: error }
    )
  }
  const state = sqlState(error) ?? ''
  if (!state.startsWith('22') && !state.startsWith('23')) throw error
  const { table, constraint } = error as pg.DatabaseError
  const place = [table && `table '${table}'`, constraint && `constraint '${constraint}'`].filter(Boolean)
    .join(', ')
  throw new RestoreRefusedError(
    `the rows do not fit the tables${place === '' ? '' : ` (${place})`}: look at the cause`,
    { cause: error }
  )
}
