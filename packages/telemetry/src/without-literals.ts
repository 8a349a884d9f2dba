// In this order: a comment or a quoted name holds no literal, and the digits of a parameter or a name are none.
const parts =
  /--[^\n]*|\/\*[^]*?\*\/|"(?:[^"]|"")*"|[eE]'(?:[^'\\]|\\[^]|'')*'|'(?:[^']|'')*'|\$([A-Za-z_]\w*)?\$[^]*?\$\1\$|\$\d+|[A-Za-z_]\w*|\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g

/** Returns a statement's text with `?` for each literal, as the conventions ask for: literals can be people's data. */
export function withoutLiterals (text: string): string {
  return text.replaceAll(
    parts,
    part =>
      /^(?:[eE]?'|\d|\$(?!\d))/.test(part) ? '?' : part.startsWith('--') || part.startsWith('/*') ? '' : part
  )
}
