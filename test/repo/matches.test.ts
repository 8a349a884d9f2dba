// Patterns of `t.match` that match everything.
import { globSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import ts from 'typescript'

import { root } from '../../.ci/sources.ts'

/** Returns `path:line` of each empty list in a pattern: tap matches it with every list. */
function emptyLists (path: string, text: string): string[] {
  const file = ts.createSourceFile(path, text, ts.ScriptTarget.Latest)
  const found: string[] = []
  const search = (pattern: ts.Node): void => {
    if (ts.isArrayLiteralExpression(pattern) && pattern.elements.length === 0)
      found.push(`${path}:${file.getLineAndCharacterOfPosition(pattern.getStart(file)).line + 1}`)
    else if (ts.isArrayLiteralExpression(pattern)) pattern.elements.forEach(search)
    else if (ts.isObjectLiteralExpression(pattern)) {
      for (const property of pattern.properties)
        if (ts.isPropertyAssignment(property)) search(property.initializer)
    }
  }
  const visit = (node: ts.Node): void => {
    if (ts.isCallExpression(node) && node.expression.getText(file) === 't.match' && node.arguments[1])
      search(node.arguments[1])
    ts.forEachChild(node, visit)
  }
  visit(file)
  return found
}

t.test('a pattern for an empty list is { length: 0 }, because [] matches every list', async t => {
  const places = globSync('test/**/*.ts', { cwd: root }).flatMap(path => {
    const text = readFileSync(join(root, path), 'utf8')
    return /\[\]/.test(text) && text.includes('t.match(') ? emptyLists(path, text) : []
  })
  t.same(places, [])
})

t.test('control: empty lists are found in patterns, and only there', async t => {
  const none: unknown[] = []
  t.match([1], none, 'tap matches it with every list')
  t.same(emptyLists('a.ts', 't.match(a, { b: [] })\nt.match([], { c: [1] })\nt.same(a, [])'), ['a.ts:1'])
})
