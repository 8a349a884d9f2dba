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
const maybe = /\binto\b/i

/** Tokens after which `into` is a name: an alias after AS, a column after a dot. */
const beforeName: ReadonlySet<string> = new Set(['as', '.'])

/**
 * Whether a text is `SELECT … INTO`, which creates a table. INTO is a reserved word, so the tokens
 * before it decide. `select 1 insert into t` names its column `insert`, so INSERT INTO counts only
 * where no SELECT precedes it between the same parentheses.
 */
export function makesTable (text: string): boolean {
  if (!maybe.test(text) || !/select/i.test(text)) return false
  let before = ''
  const hasSelect = [false]
  const scan = new RegExp(tokens)
  for (let found = scan.exec(text); found !== null; found = scan.exec(text)) {
    const [token] = found
    if (token === '/*') scan.lastIndex = endOfComment(text, found.index)
    else if (!token.startsWith('--')) {
      const word = token.toLowerCase()
      const isInsert = (before === 'insert' || before === 'merge') && hasSelect.at(-1) === false
      if (word === 'into' && !beforeName.has(before) && !isInsert) return true
      if (word === '(') hasSelect.push(false)
      else if (word === ')') hasSelect.pop()
      else if (word === 'select') hasSelect[hasSelect.length - 1] = true
      before = word
    }
  }
  return false
}
