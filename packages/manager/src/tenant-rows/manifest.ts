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

/** What `manifest.json` must be; a later format is refused by its version before anything else is read. */
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

/** One table of an export: its rows are in `tables/<name>.ndjson`. */
export interface ManifestTable {
  readonly name: string
  readonly rows: number
  /** Of the file. */
  readonly bytes: number
  /** Of the file. */
  readonly sha256: string
  /** The columns by which the rows are sorted; none where the lines themselves are. */
  readonly order: readonly string[]
  /** All but the tenant column, by name. */
  readonly columns: readonly { readonly name: string; readonly type: string }[]
}

/** What an export is, in its `manifest.json`. */
export interface Manifest {
  readonly format: typeof format
  readonly version: 1
  readonly exportedAt: string
  /** The newest of the application's migrations that the tables had; null where the manager runs none. */
  readonly migration: string | null
  /** Without its placement, which may hold a password. */
  readonly tenant:
    & Pick<TenantRecord, 'id' | 'slug' | 'name' | 'plan' | 'isolation' | 'settings' | 'domains'>
    & { readonly createdAt: string }
  /** The `lifecycle.steps` that wrote files of their own, each into `steps/<name>`. */
  readonly steps: readonly string[]
  readonly tables: readonly ManifestTable[]
}

export interface ManifestInput extends Pick<Manifest, 'migration' | 'steps' | 'tables'> {
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

/** The name of a file or folder for a name that may hold anything, on file systems that know no case too. */
export function fileName (name: string): string {
  return Array.from(
    Buffer.from(name),
    byte =>
      /[a-z0-9_-]/.test(String.fromCharCode(byte))
        ? String.fromCharCode(byte)
        : `%${byte.toString(16).toUpperCase().padStart(2, '0')}`
  ).join('')
}

/** The path of a table's rows within an export. */
export function tablePath (name: string): string {
  return `tables/${fileName(name)}.ndjson`
}
