export function unscoped (_sql: string, _columns: Readonly<Record<string, string>>): string | undefined {
  return undefined
}
