/**
 * Returns a text with each statement on its own line. A semicolon within quotes, dollar quotes,
 * parentheses or a comment separates no statements.
 */
export function onePerLine (sql: string): string {
  const token =
    /'(?:[^']|'')*'|"(?:[^"]|"")*"|(\$\w*\$)[\s\S]*?\1|--[^\n\r]*|\/\*[\s\S]*?\*\/|;[^\S\n]*(?=[^\s-])/g
  return sql.replace(token, found => found.startsWith(';') ? ';\n' : found)
}
