import { explain } from '@fastify-tenancy/core/options'
import { createReadStream } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { pipeline } from 'node:stream'
import split from 'split2'
import * as v from 'valibot'

import { Digester } from './digester.ts'
import { ImportRefusedError } from './errors.ts'
import { manifestSchema, tablePath, type Manifest, type ManifestTable } from './manifest.ts'
import { readObjectFile, type ExportObjects } from './object-file.ts'

/** An export on disk. */
export interface Export {
  readonly folder: string
  readonly manifest: Manifest
  /** Sequences and triggers; undefined if the export has no such file. */
  readonly objects: ExportObjects | undefined
}

/**
 * Reads an export's manifest and each of its lines once. Checks that checksums and columns match
 * the manifest.
 *
 * @param onRows called with a table and the number of its rows read so far
 * @throws FST_TENANCY_IMPORT_REFUSED
 */
export async function readExport (
  folder: string,
  onRows: (table: ManifestTable, rows: number) => void = () => {}
): Promise<Export> {
  const manifest = await readManifest(folder)
  const objects = await readObjectFile(folder)
  for (const table of manifest.tables)
    await checkLines(folder, table, rows => {
      onRows(table, rows)
    })
  return { folder, manifest, objects }
}

async function readManifest (folder: string): Promise<Manifest> {
  const text = await readFile(join(folder, 'manifest.json'), 'utf8').catch((cause: unknown) => {
    throw new ImportRefusedError(`cannot read manifest.json in ${folder}: pass the folder of an export`, {
      cause
    })
  })
  const result = v.safeParse(manifestSchema, parsed(text), { abortEarly: true })
  if (!result.success)
    throw new ImportRefusedError(
      `${
        explain(result.issues[0], 'manifest.json')
      }: this is not an export, or its format is newer than this version`
    )
  const manifest = result.output
  const names = manifest.tables.map(({ name }) => name)
  const twice = names.find((name, index) => names.indexOf(name) !== index)
  if (twice !== undefined) throw new ImportRefusedError(`manifest.json lists table '${twice}' twice`)
  return manifest
}

async function checkLines (
  folder: string,
  table: ManifestTable,
  onRows: (rows: number) => void
): Promise<void> {
  const digester = new Digester()
  const columns = new Set(table.columns.map(({ name }) => name))
  let line = 0
  try {
    for await (const text of linesOfFile(folder, table, digester)) {
      const problem = rowProblem(parsed(text), columns)
      line++
      if (problem !== undefined)
        throw new ImportRefusedError(`line ${line} of ${tablePath(table.name)} ${problem}`)
      if (line % 10_000 === 0) onRows(line)
    }
  } catch (error) {
    if (error instanceof ImportRefusedError) throw error
    throw new ImportRefusedError(`${tablePath(table.name)} of the export cannot be read`, { cause: error })
  }
  const { rows, bytes, sha256 } = digester.digest()
  if (rows !== table.rows || bytes !== table.bytes || sha256 !== table.sha256) {
    throw new ImportRefusedError(
      `${
        tablePath(table.name)
      } does not match the manifest (${rows} rows of ${table.rows}, or another checksum): ` +
        'the export was altered or is incomplete'
    )
  }
}

/** Yields the lines of one table's file. */
export function linesOfFile (
  folder: string,
  { name }: Pick<ManifestTable, 'name'>,
  digester: Digester = new Digester()
): AsyncIterable<string> {
  // Splits at LF only, because a row may contain other characters that line readers treat as line
  // ends. The pipeline passes errors of all its streams to the reader.
  return pipeline(
    createReadStream(join(folder, tablePath(name))),
    source => digester.through(source),
    split('\n'),
    () => {}
  )
}

function rowProblem (row: unknown, columns: ReadonlySet<string>): string | undefined {
  if (typeof row !== 'object' || row === null || Array.isArray(row)) return 'is not a JSON object'
  const keys = Object.keys(row)
  const unknown = keys.find(key => !columns.has(key))
  if (unknown !== undefined) return `has a column '${unknown.slice(0, 63)}' that the manifest does not list`
  if (keys.length !== columns.size) return 'lacks a column that the manifest lists'
  return Object.values(row).every(value => value === null || typeof value === 'string')
    ? undefined
    : 'has a value that is neither text nor null'
}

function parsed (text: string): unknown {
  try {
    return JSON.parse(text) as unknown
  } catch {
    return undefined
  }
}
