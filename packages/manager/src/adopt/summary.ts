/** What `observe` or `enforce` worked on. */
export interface Advanced {
  readonly tables: readonly string[]
  /** The roles of old code, each with its last day. */
  readonly legacy: Readonly<Record<string, string>>
  /** What stopped working with it, each a sentence. */
  readonly broken: readonly string[]
}

/** What `prepare` did, and what comes next. */
export function prepared (tables: readonly string[]): string {
  return `prepared ${
    counted(tables)
  }: each row has its tenant, and so has each row that old code goes on to write; nothing is enforced yet. Next: tenancy protect --stage observe`
}

/** What `observe` did, and what comes next. */
export function observed ({ tables, legacy }: Advanced): string {
  const roles = Object.entries(legacy).map(([role, day]) => `'${role}' until ${day}`).join(', ')
  return `observed ${
    counted(tables)
  }: new code sees the rows of its tenant alone, and old code works as before (${roles}). Next: make tenants of the customers (tenancy create --from "select …"), serve the new code, change each query that the log reports with by: old, then tenancy protect --stage enforce`
}

/** What `enforce` did, and what comes next. */
export function enforced ({ tables, legacy }: Advanced): string {
  const roles = Object.keys(legacy).map(role => `'${role}'`).join(', ')
  return `enforced ${counted(tables)}: no statement reads or writes rows of other tenants any more${
    roles === '' ? '' : `, and ${roles} lost ${tables.length === 1 ? 'it' : 'them'}`
  }. Next: tenancy doctor --probe`
}

function counted (tables: readonly string[]): string {
  return tables.length === 1 ? `table ${tables[0]}` : `${tables.length} tables`
}
