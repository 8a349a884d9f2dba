// The order matters: comments and quoted names contain no literals, and digits in parameters and
// names are not literals.
const parts = new RegExp(
  [
    /--[^\n\r]*|\/\*[^]*?(?:\*\/|$)/,
    /"(?:[^"]|"")*"/,
    /[eE]'(?:[^'\\]|\\[^]|'')*(?:'|\\?$)|'(?:[^']|'')*(?:'|$)/,
    /\$([A-Za-z_\u0080-\uffff][\w\u0080-\uffff]*)?\$[^]*?(?:\$\1\$|$)/,
    /\$\d+|[A-Za-z_\u0080-\uffff][\w$\u0080-\uffff]*/,
    /\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/
  ].map(({ source }) => source).join('|'),
  'g'
)

/**
 * Returns a statement's text with `?` for each literal, as the conventions require, because
 * literals can be personal data.
 */
export function withoutLiterals (text: string): string {
  return text.replaceAll(
    parts,
    part =>
      /^(?:[eE]?'|\d|\$(?!\d))/.test(part) ? '?' : part.startsWith('--') || part.startsWith('/*') ? '' : part
  )
}
