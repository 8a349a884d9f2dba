/** Whether a name can be written without quotes in a query: `lower`, or `app.slugify`. */
export function isPlainName (name: string): boolean {
  return /^[a-z_][a-z0-9_]{0,62}(?:\.[a-z_][a-z0-9_]{0,62})?$/.test(name)
}
