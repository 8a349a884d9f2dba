import { TenantUnknownError, type TenantRecord, type TenantRef } from '@fastify-tenancy/core'
import { bool, checkOptions, nonEmptyString } from '@fastify-tenancy/core/options'
import { mkdir, open, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type pg from 'pg'
import * as v from 'valibot'

import type { ManagerContext } from '../context/context.ts'
import { findTenant } from '../operations/find.ts'
import { assertStatus } from '../operations/state.ts'
import { isSamePlacement, withPlacement, type RowPlacement } from '../placement/tenant-placement.ts'
import { Lines } from '../tenant-rows/copy.ts'
import type { Digest } from '../tenant-rows/digester.ts'
import { ExportRefusedError } from '../tenant-rows/errors.ts'
import { linesOf } from '../tenant-rows/lines.ts'
import { createManifest, fileName, tablePath, type Manifest,
  type ManifestTable } from '../tenant-rows/manifest.ts'
import { exportedSequences, objectFile } from '../tenant-rows/object-file.ts'
import { readSequences } from '../tenant-rows/sequences.ts'
import { inTransactionOn } from '../tenant-rows/session.ts'
import { readTables } from '../tenant-rows/tables.ts'
import { readTriggers } from '../tenant-rows/triggers.ts'
import { wholeProblem } from '../tenant-rows/whole.ts'
import { makeFolder } from './target-folder.ts'
import { readVersion } from './version.ts'

/** Options of {@link Manager.export}. */
export interface ExportInput {
  /** The folder to create. */
  readonly to: string
  /** Whether to replace an earlier export at this path. @default false */
  readonly force?: boolean
  /** Aborts the export; no files are left then. */
  readonly signal?: AbortSignal
}

const schema = v.strictObject({
  to: nonEmptyString,
  force: v.optional(bool, false),
  signal: v.optional(v.instance(AbortSignal, 'must be an AbortSignal'))
}, 'must be an object')

export async function exportTenant (
  context: ManagerContext,
  ref: TenantRef,
  input: ExportInput
): Promise<Manifest> {
  const { to, force, signal } = checkOptions(schema, input)
  const tenant = await findTenant(context, ref)
  assertStatus(tenant.status, 'active', 'suspended', 'deleting')
  return makeFolder(to, { force }, async folder => {
    const work: ExportWork = { context, tenant, folder, signal }
    const { tables, migration } = await withPlacement(
      context,
      tenant,
      placement => exportRows(work, placement)
    )
    const steps = await exportSteps(work)
    await assertStillThere(context, tenant)
    const manifest = createManifest({ tenant, migration, steps, tables })
    await writeManifest(folder, manifest)
    signal?.throwIfAborted()
    return manifest
  })
}

/** Writes the rows of a tenant in a placement and their manifest into an empty folder. */
export async function writeExport (work: ExportWork, placement: RowPlacement): Promise<Manifest> {
  const manifest = createManifest({ tenant: work.tenant, steps: [], ...await exportRows(work, placement) })
  await writeManifest(work.folder, manifest)
  return manifest
}

async function writeManifest (folder: string, manifest: Manifest): Promise<void> {
  await writeFile(join(folder, 'manifest.json'), `${JSON.stringify(manifest, undefined, 2)}\n`, {
    flag: 'wx',
    flush: true
  })
}

interface ExportWork {
  readonly context: ManagerContext
  readonly tenant: TenantRecord
  readonly folder: string
  readonly signal: AbortSignal | undefined
}

async function exportRows (
  { context, tenant, folder, signal }: ExportWork,
  placement: RowPlacement
): Promise<Pick<Manifest, 'tables' | 'migration'>> {
  const { options } = context
  await mkdir(join(folder, 'tables'))
  return inTransactionOn(
    placement,
    { shared: options.tables.schema, isSnapshot: true, ...(signal && { signal }) },
    async client => {
      const tables = await readTables(client, placement, options.tables)
      const problem = await wholeProblem(client, placement, tables, false)
      if (problem !== undefined) throw new ExportRefusedError(problem)
      const done: ManifestTable[] = []
      for (const table of tables) {
        const { name, order, columns } = table
        const report = (rows: number): void =>
          options.progress?.({
            operation: 'export',
            tenant: tenant.id,
            slug: tenant.slug,
            step: name,
            done: rows
          })
        const digest = await writeLines(
          client,
          linesOf(placement, tables, table),
          join(folder, tablePath(name)),
          report
        )
        done.push({ name, ...digest, order, columns: columns.map(({ name, type }) => ({ name, type })) })
      }
      const sequences = await exportedSequences(
        client,
        placement,
        tables,
        await readSequences(client, placement, tables)
      )
      const triggers = (await readTriggers(client, placement, tables, 'insert')).map(({ table, name }) => ({
        table,
        name
      }))
      await writeFile(
        join(folder, objectFile),
        `${JSON.stringify({ sequences, triggers }, undefined, 2)}\n`,
        { flag: 'wx', flush: true }
      )
      return { tables: done, migration: await readVersion(client, tenant) }
    }
  )
}

async function writeLines (
  client: pg.PoolClient,
  query: string,
  path: string,
  report: (rows: number) => void
): Promise<Digest> {
  const lines = new Lines(client, query)
  const file = await open(path, 'wx')
  try {
    for await (const chunk of lines.read()) {
      await file.appendFile(chunk)
      report(lines.rows)
    }
    await file.sync()
  } finally {
    await file.close()
  }
  return lines.digest()
}

async function exportSteps ({ context, tenant, folder, signal }: ExportWork): Promise<string[]> {
  const done: string[] = []
  for (const step of context.options.steps) {
    if (step.export === undefined) continue
    signal?.throwIfAborted()
    const own = join(folder, 'steps', fileName(step.name))
    await mkdir(own, { recursive: true })
    await step.export({ tenant, folder: own, ...(signal && { signal }) })
    done.push(step.name)
  }
  return done
}

// The tenant may have been moved or purged during the export, which is then incomplete.
async function assertStillThere ({ registry }: ManagerContext, tenant: TenantRecord): Promise<void> {
  const now = await registry.findById(tenant.id)
  if (now === undefined || now.status === 'deleted') throw new TenantUnknownError()
  if (!isSamePlacement(now, tenant))
    throw new ExportRefusedError('the tenant was moved during the export: export it again')
}
