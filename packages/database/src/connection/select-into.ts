import { endOfComment } from '@fastify-tenancy/postgres/client'

// The order matters: strings, quoted names and comments hold no keywords.
const tokens =
  /--[^\n\r]*|\/\*|[eE]'[^'\\]*(?:(?:\\[^]|'')[^'\\]*)*'|'[^']*'|"[^"]*"|\$(?<tag>(?:[A-Za-z_\u0080-\uffff][\w\u0080-\uffff]*)?)\$[^]*?\$\k<tag>\$|[A-Za-z_\u0080-\uffff][\w$\u0080-\uffff]*|\S/g
const maybe = /(?<!\b(?:insert|merge)\s+)\binto\b/i

/** Where `into` does not make a table: in INSERT INTO and MERGE INTO, and as the name of a column. */
const harmlessBefore: ReadonlySet<string> = new Set(['insert', 'merge', 'as', '.'])

/** Whether a text is `SELECT … INTO`, which makes a table. INTO is a reserved word, so its place tells. */
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
