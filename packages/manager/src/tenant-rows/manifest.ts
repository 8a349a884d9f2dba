import { isolations, type TenantRecord } from '@fastify-tenancy/core'
import * as v from 'valibot'

const format = 'fastify-tenancy export'
const text = v.pipe(v.string(), v.minLength(1))
const count = v.pipe(v.number(), v.safeInteger(), v.minValue(0))

const table = v.strictObject({
  name: text,
  rows: count,
  bytes: count,
  sha256: v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/)),
  order: v.array(text),
  columns: v.array(v.strictObject({ name: text, type: text }))
})

/**
 * Schema of `manifest.json`. The version precedes the rest, so that a later format is refused for
 * its version.
 */
export const manifestSchema: v.GenericSchema<unknown, Manifest> = v.strictObject({
  format: v.literal(format),
  version: v.literal(1),
  exportedAt: v.pipe(v.string(), v.isoTimestamp()),
  migration: v.nullable(text),
  tenant: v.strictObject({
    id: text,
    slug: text,
    name: text,
    plan: text,
    isolation: v.picklist(isolations),
    settings: v.record(v.string(), v.unknown()),
    domains: v.array(text),
    createdAt: v.pipe(v.string(), v.isoTimestamp())
  }),
  steps: v.array(text),
  tables: v.array(table)
})

/** A table of an export. Its rows are in `tables/<name>.ndjson`. */
export interface ManifestTable {
  readonly name: string
  readonly rows: number
  /** Size of the file. */
  readonly bytes: number
  /** Hash of the file. */
  readonly sha256: string
  /** The columns by which the rows are sorted. Empty if the lines themselves are sorted. */
  readonly order: readonly string[]
  /** All columns except the tenant column, by name. */
  readonly columns: readonly { readonly name: string; readonly type: string }[]
}

/** Content of an export's `manifest.json`. */
export interface Manifest {
  readonly format: typeof format
  readonly version: 1
  readonly exportedAt: string
  /**
   * The newest of the application's migrations that the tables had; null if the manager runs none.
   */
  readonly migration: string | null
  /** The tenant without its placement, which may contain a password. */
  readonly tenant:
    & Pick<TenantRecord, 'id' | 'slug' | 'name' | 'plan' | 'isolation' | 'settings' | 'domains'>
    & { readonly createdAt: string }
  /** The `lifecycle.steps` with files of their own, each in `steps/<name>`. */
  readonly steps: readonly string[]
  readonly tables: readonly ManifestTable[]
}

interface ManifestInput extends Pick<Manifest, 'migration' | 'steps' | 'tables'> {
  readonly tenant: TenantRecord
}

export function createManifest ({ tenant, migration, steps, tables }: ManifestInput): Manifest {
  const { id, slug, name, plan, isolation, settings, domains, createdAt } = tenant
  return {
    format,
    version: 1,
    exportedAt: new Date().toISOString(),
    migration,
    tenant: { id, slug, name, plan, isolation, settings, domains, createdAt: createdAt.toISOString() },
    steps,
    tables
  }
}

/** Returns a file name for any name. Also unique on case-insensitive file systems. */
export function fileName (name: string): string {
  return Array.from(
    Buffer.from(name),
    byte =>
      /[a-z0-9_-]/.test(String.fromCharCode(byte))
        ? String.fromCharCode(byte)
        : `%${byte.toString(16).toUpperCase().padStart(2, '0')}`
  ).join('')
}

/** Returns the path of a table's rows within an export. */
export function tablePath (name: string): string {
  return `tables/${fileName(name)}.ndjson`
}
