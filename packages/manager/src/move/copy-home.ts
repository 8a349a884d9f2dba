import type pg from 'pg'

import type { ManagerContext } from '../context.ts'
import { digestLines, Lines } from '../transfer/copy.ts'
import type { Digest } from '../transfer/digester.ts'
import { countRows, formProblem, keyProblem } from '../transfer/fit.ts'
import { emptyTables } from '../transfer/import-rows.ts'
import { withHome, type Home } from '../transfer/home.ts'
import { linesOf } from '../transfer/lines.ts'
import { loadTables, type LineSource } from '../transfer/load.ts'
import type { ManifestTable } from '../transfer/manifest.ts'
import { inSession } from '../transfer/session.ts'
import { readTables, type TenantTable } from '../transfer/tables.ts'
import { MoveFailedError } from './errors.ts'
import type { Move } from './moves.ts'

/** One end of a copy: a home with its tables, and a session in it. */
interface Side {
  readonly home: Home
  readonly client: pg.PoolClient
  readonly tables: readonly TenantTable[]
}

/** Checks, before anybody is locked out, that the rows can go where they are to go. */
export async function assertMovable (context: ManagerContext, { source, target }: Move): Promise<void> {
  const { tables: listed } = context.options
  const sizes = await withHome(context, source, home => inSession(home, { shared: listed.schema, isSnapshot: true }, async client => {
    const tables = await readTables(client, home, listed)
    const sizes: Pick<ManifestTable, 'name' | 'columns' | 'rows'>[] = []
    for (const { name, columns } of tables) sizes.push({ name, columns, rows: await countRows(client, home, tables, [name]) })
    return sizes
  }))
  await withHome(context, target, home => inSession(home, { shared: listed.schema, isSnapshot: true }, async client => {
    const tables = await readTables(client, home, listed)
    refuse(formProblem(sizes, tables))
    refuse(await keyProblem(client, home, sizes, tables))
    if (home.isShared && await countRows(client, home, tables, tables.map(({ name }) => name)) > 0) refuse('rows of the tenant are in the tables that it is to move to already: look what they are, and remove them')
  }))
}

/**
 * Copies a tenant's rows from one home to the other in one transaction of the target's, and compares both, table by table: by number and by
 * checksum. The source is locked by then; a copy that is there was made by a call that was cut short after this, and is only compared.
 */
export async function copyHome (context: ManagerContext, { source, target }: Move, signal: AbortSignal): Promise<void> {
  const { tables: { schema: shared } } = context.options
  await withHome(context, source, from => withHome(context, target, to => to.pool === from.pool
    // Within one database, rows need not come here: one session reads and writes.
    ? inSession(to, { shared, signal }, async client => copy(context, { ...await side(context, from, client) }, await side(context, to, client), signal))
    : inSession(from, { shared, signal, isSnapshot: true }, reader => inSession(to, { shared, signal }, async writer =>
      copy(context, await side(context, from, reader), await side(context, to, writer), signal)))))
}

async function side ({ options: { tables: listed } }: ManagerContext, home: Home, client: pg.PoolClient): Promise<Side> {
  return { home, client, tables: await readTables(client, home, listed) }
}

async function copy (context: ManagerContext, from: Side, to: Side, signal: AbortSignal): Promise<void> {
  refuse(formProblem(from.tables, to.tables))
  const isHere = from.client === to.client
  const digests = new Map<string, () => Digest>()
  const isThere = to.home.isShared && await countRows(to.client, to.home, to.tables, from.tables.map(({ name }) => name)) > 0
  if (!isThere) {
    await emptyTables(to.client, to.home, from.tables)
    await loadTables(to.client, {
      home: to.home,
      tables: to.tables,
      floors: await readSequences(from),
      sourceOf: table => sourceOf(from, table, isHere, (name, digest) => digests.set(name, digest)),
      onRows: (table, done) => {
        signal.throwIfAborted()
        context.options.progress?.({ operation: 'move', tenant: to.home.tenant, step: `rows of ${table}`, done })
      }
    })
  }
  for (const table of from.tables) {
    signal.throwIfAborted()
    const there = to.tables.find(({ name }) => name === table.name)
    if (there === undefined) continue
    const before = digests.get(table.name)?.() ?? await digestLines(from.client, linesOf(from.home, from.tables, table))
    const after = await digestLines(to.client, linesOf(to.home, to.tables, there, table))
    if (before.rows !== after.rows || before.sha256 !== after.sha256) {
      refuse(`table '${table.name}' came out with other rows (${after.rows} of ${before.rows}, or another checksum): triggers change or add rows, or somebody wrote past the tenant's lock`)
    }
  }
}

function sourceOf (from: Side, { name }: TenantTable, isHere: boolean, onDigest: (name: string, digest: () => Digest) => void): LineSource | undefined {
  const table = from.tables.find(table => table.name === name)
  if (table === undefined) return undefined
  const query = linesOf(from.home, from.tables, table)
  if (isHere) return { query }
  return { lines: streamed(from.client, query, digest => { onDigest(name, digest) }) }
}

// Not begun before it is read: one connection has one COPY at a time.
async function * streamed (client: pg.PoolClient, query: string, onDigest: (digest: () => Digest) => void): AsyncGenerator<string> {
  const lines = new Lines(client, query)
  for await (const chunk of lines.read()) yield * chunk.toString('utf8', 0, chunk.length - 1).split('\n')
  onDigest(() => lines.digest())
}

/** How far the sequences of a home are, by table and column: a number that was given to a row that is gone is not given again. */
async function readSequences ({ client, tables }: Side): Promise<Map<string, string>> {
  const floors = new Map<string, string>()
  for (const table of tables) {
    for (const { name, sequence } of table.columns) {
      if (sequence === null) continue
      const { rows: [row] } = await client.query<{ value: string }>(`select last_value::text as value from ${sequence} where is_called`)
      if (row !== undefined) floors.set(`${table.name} ${name}`, row.value)
    }
  }
  return floors
}

function refuse (problem: string | undefined): void {
  if (problem !== undefined) throw new MoveFailedError(problem)
}
