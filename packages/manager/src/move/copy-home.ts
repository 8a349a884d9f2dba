import type { ResolvedTables, SqlClient } from '@fastify-tenancy/database'

import type { ManagerContext } from '../context.ts'
import { removeRows } from '../lifecycle/remove-rows.ts'
import { digestLines } from '../transfer/copy.ts'
import type { Digest } from '../transfer/digester.ts'
import { countRows, keyProblem } from '../transfer/fit.ts'
import { emptyTables } from '../transfer/import-rows.ts'
import { withHome } from '../transfer/home.ts'
import { sequenceProblem, sourceSequences } from '../transfer/carry.ts'
import { linesOf } from '../transfer/lines.ts'
import { loadTables, type LineSource } from '../transfer/load.ts'
import type { ManifestTable } from '../transfer/manifest.ts'
import { readSequences } from '../transfer/sequences.ts'
import { readFurthestIds, strayProblem } from '../transfer/stray-ids.ts'
import { inSession } from '../transfer/session.ts'
import { readTables, type TenantTable } from '../transfer/tables.ts'
import { mostQuiet, namedTriggers, quietInserts, readTriggers,
  type UserTrigger } from '../transfer/triggers.ts'
import { wholeProblem } from '../transfer/whole.ts'
import { isServed } from './capture.ts'
import { MoveFailedError } from './errors.ts'
import { followProblem, moveProblem } from './fit.ts'
import { formOf } from './form.ts'
import type { Move } from './moves.ts'
import { readSnapshot, streamed, withSides, type Side } from './sides.ts'
import { unvalidatedProblem } from './unvalidated.ts'

/** Checks, before anybody is locked out, that the rows can go where they are to go. */
export async function assertMovable (
  context: ManagerContext,
  { source, target }: Move
): Promise<{ missing: readonly string[] }> {
  const { tables: listed } = context.options
  const isFollowed = await isServed(context, source)
  const from = await withHome(
    context,
    source,
    home =>
      inSession(home, { shared: listed.schema, isSnapshot: true }, async client => {
        const tables = await readTables(client, home, listed)
        refuse(await wholeProblem(client, home, tables, true))
        refuse(await unvalidatedProblem({ client, home, tables }))
        const sizes: (TenantTable & Pick<ManifestTable, 'rows'>)[] = []
        for (const table of tables)
          sizes.push({ ...table, rows: await countRows(client, home, tables, [table.name]) })
        const known = await readSequences(client, home, tables)
        const ids = await readFurthestIds(client, home, tables, known)
        return { home, tables: sizes, ids, sequences: sourceSequences(home, known) }
      })
  )
  return withHome(
    context,
    target,
    home =>
      inSession(home, { shared: listed.schema, isSnapshot: true }, async client => {
        const tables = await readTables(client, home, listed)
        refuse(moveProblem(from, { home, tables }))
        refuse(await wholeProblem(client, home, tables, true))
        if (isFollowed) refuse(await followProblem(client, from, { home, tables }))
        refuse(await keyProblem(client, home, from.tables, tables))
        const sequences = await readSequences(client, home, tables)
        refuse(sequenceProblem(from.sequences, sequences, home.isShared))
        refuse(strayProblem(from.ids, from.sequences, { home, tables, sequences }))
        if (home.isShared && await countRows(client, home, tables, tables.map(({ name }) => name)) > 0)
          refuse(
            'rows of the tenant are in the tables that it is to move to already: look what they are, and remove them'
          )
        return { missing: target.isolation === 'database' ? await missingShared(client, listed) : [] }
      })
  )
}

// Tables that all tenants read are where the others are, and not in a database of the tenant's own unless its migrations make them.
async function missingShared (client: SqlClient, { schema, shared }: ResolvedTables): Promise<string[]> {
  const { rows } = await client.query<{ name: string }>(
    "select name from unnest($2::text[]) name where pg_catalog.to_regclass(pg_catalog.format('%I.%I', $1::text, name)) is null order by 1",
    [schema, [...shared]]
  )
  return rows.map(({ name }) => name)
}

/** What the target is a copy of. */
export interface Copied {
  /** The source's snapshot. */
  readonly seen: string
  /** What the tables were then: see {@link formOf}. */
  readonly form: string
}

/**
 * Copies a tenant's rows, as they are at one moment, from one home to the other in one transaction of the target's, and compares both, table by
 * table: by number and by checksum. What a copy that was cut short has left in the target goes first.
 */
export async function copyHome (context: ManagerContext, move: Move, signal?: AbortSignal): Promise<Copied> {
  return withSides(context, move, signal, async (from, to) => {
    refuse(moveProblem(from, to))
    const seen = await readSnapshot(from)
    if (to.home.isShared) await removeRows(to.client, to.home, { listed: context.options.tables })
    else await emptyTables(to.client, to.home, from.tables)
    const speak = await quietInserts(to.client, to.home, to.tables, await quietable(from, to))
    const digests = new Map<string, () => Digest>()
    await loadTables(to.client, {
      home: to.home,
      tables: to.tables,
      sourceOf: table =>
        sourceOf(from, table, from.client === to.client, (name, digest) => digests.set(name, digest)),
      onRows: (table, done) => {
        signal?.throwIfAborted()
        context.options.progress?.({
          operation: 'move',
          tenant: to.home.tenant,
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
        await digestLines(from.client, linesOf(from.home, from.tables, table))
      const after = await digestLines(to.client, linesOf(to.home, to.tables, there, table))
      if (before.rows !== after.rows || before.sha256 !== after.sha256) {
        refuse(
          `table '${table.name}' came out with other rows (${after.rows} of ${before.rows}, or another checksum): ${
            namedTriggers(await readTriggers(to.client, to.home, to.tables, 'insert')) ??
              'a rule or a default'
          } changes or adds rows, and has to let a copy be`
        )
      }
    }
    return { seen, form: await formOf(from, to) }
  })
}

// In shared tables, others wait while triggers are off: not for many rows.
async function quietable (from: Side, to: Side): Promise<UserTrigger[]> {
  const triggers = await readTriggers(from.client, from.home, from.tables, 'insert')
  if (triggers.length === 0 || !to.home.isShared) return triggers
  return await countRows(from.client, from.home, from.tables, from.tables.map(({ name }) => name)) > mostQuiet
    ? []
    : triggers
}

function sourceOf (
  from: Side,
  { name }: TenantTable,
  isHere: boolean,
  onDigest: (name: string, digest: () => Digest) => void
): LineSource | undefined {
  const table = from.tables.find(table => table.name === name)
  if (table === undefined) return undefined
  const query = linesOf(from.home, from.tables, table)
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
