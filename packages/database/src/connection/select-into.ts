import { endOfComment } from '@fastify-tenancy/postgres/client'

// The order of alternatives matters, because strings, quoted names and comments contain no
// keywords.
const tokens = new RegExp(
  [
    /--[^\n\r]*|\/\*/, // comments
    /[eE]'[^'\\]*(?:(?:\\[^]|'')[^'\\]*)*'|'[^']*'|"[^"]*"/, // strings and quoted names
    /\$(?<tag>(?:[A-Za-z_\u0080-\uffff][\w\u0080-\uffff]*)?)\$[^]*?\$\k<tag>\$/, // dollar-quoted strings
    /[A-Za-z_\u0080-\uffff][\w$\u0080-\uffff]*|\S/ // words, and any other character
  ].map(({ source }) => source).join('|'),
  'g'
)
const maybe = /(?<!\b(?:insert|merge)\s+)\binto\b/i

/**
 * Tokens after which `into` does not create a table: INSERT INTO, MERGE INTO, and `into` as a
 * column name.
 */
const harmlessBefore: ReadonlySet<string> = new Set(['insert', 'merge', 'as', '.'])

/**
 * Whether a text is `SELECT … INTO`, which creates a table. INTO is a reserved word, so the token
 * before it decides.
 */
export function makesTable (text: string): boolean {
  if (!maybe.test(text)) return false
  let before = ''
  const scan = new RegExp(tokens)
  for (let found = scan.exec(text); found !== null; found = scan.exec(text)) {
    const [token] = found
    if (token === '/*') scan.lastIndex = endOfComment(text, found.index)
    else if (!token.startsWith('--')) {
      const word = token.toLowerCase()
      if (word === 'into' && !harmlessBefore.has(before)) return true
      before = word
    }
  }
  return false
}
