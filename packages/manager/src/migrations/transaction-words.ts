import { endOfComment } from '@fastify-tenancy/postgres/client'

// Comments and quoted text come first, because they contain no statements.
const tokens = new RegExp(
  [
    /--[^\n\r]*|\/\*/,
    /[eE]'[^'\\]*(?:(?:\\[^]|'')[^'\\]*)*'|'[^']*'|"[^"]*"/,
    /\$(?<tag>(?:[A-Za-z_\u0080-\uffff][\w\u0080-\uffff]*)?)\$[^]*?\$\k<tag>\$/,
    /[A-Za-z_\u0080-\uffff][\w$\u0080-\uffff]*|\S/
  ].map(({ source }) => source).join('|'),
  'g'
)
const maybe = /\b(?:begin|start|commit|end|rollback|abort|prepare)\b/i
const rollback = /rollback(?! (?:(?:work|transaction) )?to )/.source
const ending = new RegExp(
  `^(?:begin|start transaction|commit|end|${rollback}|abort|prepare transaction) `
)

/**
 * Returns the first words of the first statement that begins or ends a transaction; `rollback to
 * savepoint` does neither. Bodies of functions and `do` blocks are skipped, because PostgreSQL
 * itself refuses transaction control there.
 */
export function transactionWords (text: string): string | undefined {
  if (!maybe.test(text)) return undefined
  let start: string[] = []
  let depth = 0
  let before = ''
  for (const token of significant(text)) {
    const word = token.toLowerCase()
    // The body of a SQL function has statements of its own, up to the `end` that does not close a
    // `case`.
    if (word === 'atomic' && before === 'begin') depth = 1
    else if (depth > 0 && word === 'case') depth++
    else if (depth > 0 && word === 'end') depth--
    before = word
    if (word === ';' && depth === 0) {
      if (isEnding(start)) return start.join(' ')
      start = []
    } else if (start.length < 3) start.push(word)
  }
  return isEnding(start) ? start.join(' ') : undefined
}

function isEnding (start: readonly string[]): boolean {
  return ending.test(`${start.join(' ')} `)
}

function* significant (text: string): Generator<string> {
  const scan = new RegExp(tokens)
  for (let found = scan.exec(text); found !== null; found = scan.exec(text)) {
    const [token] = found
    if (token === '/*') scan.lastIndex = endOfComment(text, found.index)
    else if (!token.startsWith('--')) yield token
  }
}
