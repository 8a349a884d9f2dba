/**
 * Puts each statement of a text on a line of its own. A semicolon within quotes, dollar quotes, parentheses or a comment
 * separates nothing.
 */
export function onePerLine (sql: string): string {
  const token =
    /'(?:[^']|'')*'|"(?:[^"]|"")*"|(\$\w*\$)[\s\S]*?\1|--[^\n]*|\/\*[\s\S]*?\*\/|;[^\S\n]*(?=[^\s-])/g
  return sql.replace(token, found => found.startsWith(';') ? ';\n' : found)
}
