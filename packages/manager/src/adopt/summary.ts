/** The result of `observe` or `enforce`. */
export interface Advanced {
  readonly tables: readonly string[]
  /** The roles of legacy code, each with its last day. */
  readonly legacy: Readonly<Record<string, string>>
  /** Sentences about objects that stopped working. */
  readonly broken: readonly string[]
}

/** Returns a sentence about what `prepare` did and the next step. */
export function prepared (tables: readonly string[]): string {
  return `prepared ${
    counted(tables)
  }: each row has a tenant, and rows that legacy code inserts get one; nothing is enforced yet. ` +
    'Next: tenancy protect --stage observe'
}

/** Returns a sentence about what `observe` did and the next step. */
export function observed ({ tables, legacy }: Advanced): string {
  const roles = Object.entries(legacy).map(([role, day]) => `'${role}' until ${day}`).join(', ')
  return `observed ${
    counted(tables)
  }: new code sees only the rows of its tenant, and legacy code works as before (${roles}). ` +
    'Next: create tenants for the customers (tenancy create --from "select …"), deploy the new code, ' +
    'change each query that the log reports with by: old, then tenancy protect --stage enforce'
}

/** Returns a sentence about what `enforce` did and the next step. */
export function enforced ({ tables, legacy }: Advanced): string {
  const roles = Object.keys(legacy).map(role => `'${role}'`).join(', ')
  return `enforced ${counted(tables)}: no statement reads or writes rows of other tenants any more${
    roles === '' ? '' : `, and ${roles} lost ${tables.length === 1 ? 'it' : 'them'}`
  }. Next: tenancy doctor --probe`
}

function counted (tables: readonly string[]): string {
  return tables.length === 1 ? `table ${tables[0]}` : `${tables.length} tables`
}
