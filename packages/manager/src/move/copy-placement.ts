import type { SqlClient } from '@fastify-tenancy/postgres/client'
import type { ResolvedTables } from '@fastify-tenancy/postgres/tables'

import type { ManagerContext } from '../context/context.ts'
import type { Move } from '../operations/moves.ts'
import { withPlacement } from '../placement/tenant-placement.ts'
import { removeRows } from '../removal/remove-rows.ts'
import { sequenceProblem, sourceSequences } from '../tenant-rows/carry.ts'
import { digestLines } from '../tenant-rows/copy.ts'
import type { Digest } from '../tenant-rows/digester.ts'
import { countTableRows, keyProblem } from '../tenant-rows/fit.ts'
import { emptyTables } from '../tenant-rows/import-rows.ts'
import { linesOf } from '../tenant-rows/lines.ts'
import { loadTables, type LineSource } from '../tenant-rows/load.ts'
import type { ManifestTable } from '../tenant-rows/manifest.ts'
import { readSequences } from '../tenant-rows/sequences.ts'
import { inTransactionOn } from '../tenant-rows/session.ts'
import { readFurthestIds, strayProblem } from '../tenant-rows/stray-ids.ts'
import { readTables, type TransferTable } from '../tenant-rows/tables.ts'
import { mostQuiet, namedTriggers, quietInserts, readTriggers,
  type UserTrigger } from '../tenant-rows/triggers.ts'
import { wholeProblem } from '../tenant-rows/whole.ts'
import { isServed } from './capture.ts'
import { readSnapshot, streamed, withEndpoints, type CopyEndpoint } from './copy-endpoints.ts'
import { MoveFailedError } from './errors.ts'
import { catchUpObstacle, moveObstacle } from './fit.ts'
import { schemaFingerprint } from './schema-fingerprint.ts'
import { unvalidatedProblem } from './unvalidated.ts'

/**
 * Checks, before the tenant is locked out, that the target accepts its rows.
 *
 * @returns the reference tables that the target lacks
 */
export async function assertMovable (
  context: ManagerContext,
  { source, target }: Move
): Promise<{ missing: readonly string[] }> {
  const { tables: listed } = context.options
  const isCaughtUp = await isServed(context, source)
  const from = await withPlacement(
    context,
    source,
    placement =>
      inTransactionOn(placement, { shared: listed.schema, isSnapshot: true }, async client => {
        const tables = await readTables(client, placement, listed)
        refuse(await wholeProblem(client, placement, tables, true))
        refuse(await unvalidatedProblem({ client, placement, tables }))
        const sizes: (TransferTable & Pick<ManifestTable, 'rows'>)[] = []
        for (const table of tables)
          sizes.push({ ...table, rows: await countTableRows(client, placement, tables, [table.name]) })
        const known = await readSequences(client, placement, tables)
        const ids = await readFurthestIds(client, placement, tables, known)
        return { placement, tables: sizes, ids, sequences: sourceSequences(placement, known) }
      })
  )
  return withPlacement(
    context,
    target,
    placement =>
      inTransactionOn(placement, { shared: listed.schema, isSnapshot: true }, async client => {
        const tables = await readTables(client, placement, listed)
        refuse(moveObstacle(from, { placement, tables }))
        refuse(await wholeProblem(client, placement, tables, true))
        if (isCaughtUp) refuse(await catchUpObstacle(client, from, { placement, tables }))
        refuse(await keyProblem(client, placement, from.tables, tables))
        const sequences = await readSequences(client, placement, tables)
        refuse(sequenceProblem(from.sequences, sequences, placement.isShared))
        refuse(strayProblem(from.ids, from.sequences, { placement, tables, sequences }))
        if (
          placement.isShared && await countTableRows(
              client,
              placement,
              tables,
              tables.map(({ name }) => name)
            ) > 0
        )
          refuse(
            'the tables of the target already contain rows of the tenant: ' +
              'check them and remove them, then move the tenant again'
          )
        return { missing: target.isolation === 'database' ? await missingShared(client, listed) : [] }
      })
  )
}

// Reference tables are in the shared databases. A tenant's own database has them only if its
// migrations create them.
async function missingShared (client: SqlClient, { schema, shared }: ResolvedTables): Promise<string[]> {
  const { rows } = await client.query<{ name: string }>(
    `
    select name from unnest($2::text[]) name
    where pg_catalog.to_regclass(pg_catalog.format('%I.%I', $1::text, name)) is null
    order by 1`,
    [schema, [...shared]]
  )
  return rows.map(({ name }) => name)
}

/** Describes the state of the source that was copied. */
export interface Copied {
  /** The source's snapshot, as text. */
  readonly seen: string
  /** Fingerprint of the tables at that time: see {@link schemaFingerprint}. */
  readonly fingerprint: string
}

/**
 * Copies a tenant's rows, as of one snapshot, from the source to the target in one transaction.
 * Rows that an interrupted copy left in the target are deleted first. Both sides are compared table
 * by table, by row count and checksum.
 */
export async function copyPlacement (
  context: ManagerContext,
  move: Move,
  signal?: AbortSignal
): Promise<Copied> {
  return withEndpoints(context, move, signal, async (from, to) => {
    refuse(moveObstacle(from, to))
    const seen = await readSnapshot(from)
    if (to.placement.isShared) await removeRows(to.client, to.placement, { listed: context.options.tables })
    else await emptyTables(to.client, to.placement, from.tables)
    const speak = await quietInserts(to.client, to.placement, to.tables, await quietable(from, to))
    const digests = new Map<string, () => Digest>()
    await loadTables(to.client, {
      placement: to.placement,
      tables: to.tables,
      sourceOf: table =>
        sourceOf(from, table, from.client === to.client, (name, digest) => digests.set(name, digest)),
      onRows: (table, done) => {
        signal?.throwIfAborted()
        context.options.progress?.({
          operation: 'move',
          tenant: to.placement.tenant,
          step: `rows of ${table}`,
          done
        })
      }
    })
    await speak()
    for (const table of from.tables) {
      signal?.throwIfAborted()
      const there = to.tables.find(({ name }) => name === table.name)
      if (there === undefined) continue
      const before = digests.get(table.name)?.() ??
        await digestLines(from.client, linesOf(from.placement, from.tables, table))
      const after = await digestLines(to.client, linesOf(to.placement, to.tables, there, table))
      if (before.rows !== after.rows || before.sha256 !== after.sha256) {
        refuse(
          `table '${table.name}' differs after the copy (${after.rows} of ${before.rows} rows, or ` +
            `another checksum): ${
              namedTriggers(await readTriggers(to.client, to.placement, to.tables, 'insert')) ??
                'a rule or a default'
            } changes or adds rows: make it ignore copies`
        )
      }
    }
    return { seen, fingerprint: await schemaFingerprint(from, to) }
  })
}

// Returns the triggers to disable for the copy. None for many rows in tenant tables, because writes
// of other tenants wait while triggers are disabled.
async function quietable (from: CopyEndpoint, to: CopyEndpoint): Promise<UserTrigger[]> {
  const triggers = await readTriggers(from.client, from.placement, from.tables, 'insert')
  if (triggers.length === 0 || !to.placement.isShared) return triggers
  return await countTableRows(from.client, from.placement, from.tables, from.tables.map(({ name }) => name)) >
      mostQuiet
    ? []
    : triggers
}

function sourceOf (
  from: CopyEndpoint,
  { name }: TransferTable,
  isHere: boolean,
  onDigest: (name: string, digest: () => Digest) => void
): LineSource | undefined {
  const table = from.tables.find(table => table.name === name)
  if (table === undefined) return undefined
  const query = linesOf(from.placement, from.tables, table)
  if (isHere) return { query }
  return {
    lines: streamed(from.client, query, digest => {
      onDigest(name, digest)
    })
  }
}

function refuse (problem: string | undefined): void {
  if (problem !== undefined) throw new MoveFailedError(problem)
}
