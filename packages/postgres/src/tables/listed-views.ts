/** Views that `options.tables` names, by list. */
export interface ListedViews {
  /** Views of tenant tables, with their tenant columns. */
  readonly tenant: Readonly<Record<string, string>>
  readonly shared: readonly string[]
  readonly global: readonly string[]
}
