// How comments are written: the words that hide who acts, and the width of a line.
import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import ts from 'typescript'

import { root } from '../../.ci/sources.ts'

const width = 110
// The actor has a name in the code: the pool, the caller, PostgreSQL.
const banned = /\b(?:whoever|nobody|somebody|anybody|everybody)\b/gi

const files = execFileSync('git', ['ls-files', '-z', '--cached', '--others', '--exclude-standard'], {
  cwd: root,
  encoding: 'utf8'
}).split('\0').filter(path =>
  /\.(?:ts|sql)$/.test(path) && !/\.generated\.ts$|\/golden\//.test(path) && existsSync(join(root, path))
)
const texts = files.map(path => ({ path, text: readFileSync(join(root, path), 'utf8') }))

/** Returns the offsets of the comments in a source, as [start, end]. */
function comments (path: string, text: string): [number, number][] {
  if (path.endsWith('.sql'))
    return [...text.matchAll(/--.*$|\/\*[^]*?\*\//gm)].map(({ 0: all, index }) => [index, index + all.length])
  const file = ts.createSourceFile(path, text, ts.ScriptTarget.Latest, true)
  const found = new Map<number, [number, number]>()
  const visit = (node: ts.Node): void => {
    const ranges = [...ts.getLeadingCommentRanges(text, node.getFullStart()) ?? [],
      ...ts.getTrailingCommentRanges(text, node.getEnd()) ?? []]
    for (const { pos, end } of ranges) found.set(pos, [pos, end])
    for (const child of node.getChildren(file)) visit(child)
  }
  visit(file)
  return [...found.values()]
}

/** Returns `path:line: text` for each banned word in a comment. */
function bannedWords (path: string, text: string): string[] {
  // A file is parsed only if such a word stands in a line that could be part of a comment.
  const words = [...text.matchAll(banned)].filter(({ index }) =>
    /\/\/|\/?\*|--/.test(text.slice(text.lastIndexOf('\n', index) + 1, index))
  )
  if (words.length === 0) return []
  const ranges = comments(path, text)
  return words.filter(({ index }) => ranges.some(([start, end]) => start <= index && index < end))
    .map(({ index }) => {
      const before = text.slice(0, index).split('\n')
      return `${path}:${before.length}: ${text.split('\n')[before.length - 1]?.trim()}`
    })
}

/** Returns `path:line: length` for each line that is too long. */
function longLines (path: string, text: string): string[] {
  return text.split('\n').flatMap((line, i) =>
    line.length > width ? [`${path}:${i + 1}: ${line.length} characters`] : []
  )
}

t.test('comments name who acts', async t => {
  const places = texts.flatMap(({ path, text }) => bannedWords(path, text))
  t.equal(places.join('\n'), '', `${places.length} comments with a banned word`)
})

t.test('lines are at most 110 characters long', async t => {
  const places = texts.flatMap(({ path, text }) => longLines(path, text))
  t.equal(places.join('\n'), '', `${places.length} lines that are too long`)
})

t.test('control: the words are found in comments, and only there', async t => {
  const word = ['some', 'body'].join('')
  const source =
    `// ${word} reads\nconst a = '${word}' // ${word}\n/** x\n * ${word} */\nconst b = \`// ${word}\``
  t.same(
    bannedWords('a.ts', source).map(place => place.replace(/: .*/, '')),
    ['a.ts:1', 'a.ts:2', 'a.ts:4']
  )
  t.same(bannedWords('a.sql', `select '${word}'; -- ${word}`).length, 1)
  t.same(longLines('a.ts', `${'x'.repeat(111)}\n${'y'.repeat(110)}`), ['a.ts:1: 111 characters'])
})
