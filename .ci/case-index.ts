// Writes test/CASES.md from the titles of the tests. Run it after a title or a test file changes.
import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import ts from 'typescript'

import { root } from './sources.ts'

/** An attack case that a test title names, such as `POOL-07`. */
export interface Case {
  readonly id: string
  /** A title without ids, preferably of a test that is about this case alone. */
  readonly sentence: string
  /** Test files that name the case in a title, from the top of the repository. */
  readonly files: readonly string[]
}

interface Title {
  readonly ids: readonly string[]
  readonly sentence: string
  readonly file: string
}

export const caseIndexPath: string = join(root, 'test/CASES.md')

const casePattern = /\b[A-Z]{2,4}-\d{2}\b/g

/** Returns the ids in a text, each once. */
export function caseIds (text: string): string[] {
  return [...new Set(text.match(casePattern))]
}

/** Returns the texts of all test titles in a source, with `…` in place of each expression. */
export function testTitles (source: string, path: string): string[] {
  const file = ts.createSourceFile(path, source, ts.ScriptTarget.Latest)
  const titles: string[] = []
  const add = (title: string | undefined): void => {
    if (title !== undefined) titles.push(title)
  }
  const visit = (node: ts.Node): void => {
    if (ts.isCallExpression(node) && calls(node.expression)) add(textOf(node.arguments[0]))
    if (ts.isObjectLiteralExpression(node)) listedTitles(node).forEach(add)
    ts.forEachChild(node, visit)
  }
  visit(file)
  return titles
}

/** Returns every test file that git tracks or would track. */
export function testFiles (): string[] {
  return execFileSync(
    'git',
    ['ls-files', '-z', '--cached', '--others', '--exclude-standard', 'test'],
    { cwd: root, encoding: 'utf8' }
  ).split('\0').filter(path => path.endsWith('.ts') && existsSync(join(root, path))).toSorted()
}

/** Returns all cases that titles of the tests name, in order of their ids. */
export function cases (): Case[] {
  const byId = new Map<string, Title[]>()
  for (const file of testFiles()) {
    const source = readFileSync(join(root, file), 'utf8')
    if (caseIds(source).length === 0) continue
    for (const title of testTitles(source, file)) {
      const ids = caseIds(title)
      for (const id of ids) {
        const titles = byId.get(id) ?? []
        byId.set(id, [...titles, { ids, sentence: sentenceOf(title), file }])
      }
    }
  }
  return [...byId].map(([id, titles]) => ({
    id,
    sentence: titles.toSorted((a, b) => weight(a) - weight(b))[0]?.sentence ?? '',
    files: [...new Set(titles.map(({ file }) => file))]
  })).toSorted((a, b) => a.id < b.id ? -1 : 1)
}

/** Returns the text of test/CASES.md. */
export function caseIndex (): string {
  const all = cases()
  const families = [...new Set(all.map(({ id }) => id.replace(/-\d+$/, '')))]
  const rows = (family: string): string =>
    all.filter(({ id }) => id.replace(/-\d+$/, '') === family).map(({ id, sentence, files }) =>
      `| ${id} | ${sentence.replaceAll('|', '\\|')} | ${files.map(link).join(', ')} |`
    ).join('\n')
  return `# Attack cases

Each case has an id, which stands in the titles of the tests that show it. This page is written by
\`node .ci/case-index.ts\` from these titles. The sentence is the title of one of the tests.

${
    families.map(family =>
      `## ${family}\n\n| id | what a test shows | tests |\n|---|---|---|\n${rows(family)}\n`
    ).join('\n')
  }`
}

/** Returns titles from a list that a loop turns into tests: `name` after any `ids`, and keys. */
function listedTitles ({ properties }: ts.ObjectLiteralExpression): string[] {
  const assigned = properties.filter(property => ts.isPropertyAssignment(property))
  const valueOf = (key: string): string | undefined =>
    textOf(assigned.find(({ name }) => ts.isIdentifier(name) && name.text === key)?.initializer)
  const [name, ids] = [valueOf('name'), valueOf('ids')]
  const keys = assigned.flatMap(({ name: key }) => ts.isStringLiteral(key) ? [key.text] : [])
  return name === undefined ? keys : [...keys, ids === undefined ? name : `${ids} ${name}`]
}

function calls (callee: ts.Expression): boolean {
  const name = ts.isPropertyAccessExpression(callee) ? callee.name : callee
  return ts.isIdentifier(name) && name.text === 'test'
}

function textOf (node: ts.Node | undefined): string | undefined {
  if (node === undefined) return undefined
  if (ts.isStringLiteralLike(node)) return node.text
  if (ts.isTemplateExpression(node))
    return node.head.text + node.templateSpans.map(({ literal }) => `…${literal.text}`).join('')
  if (ts.isParenthesizedExpression(node)) return textOf(node.expression)
  if (ts.isBinaryExpression(node) && node.operatorToken.kind === ts.SyntaxKind.PlusToken) {
    const [left, right] = [textOf(node.left), textOf(node.right)]
    return left === undefined || right === undefined ? undefined : left + right
  }
  return undefined
}

/** Returns a title without its ids, and without expressions that stand before the sentence. */
function sentenceOf (title: string): string {
  return title.replaceAll(casePattern, '').replace(/^[\s…:,]+/, '').replaceAll(/\s+/g, ' ').trim()
}

/** Orders titles: tests of this case alone first, then long runs, short titles and controls. */
function weight ({ ids, sentence, file }: Title): number {
  return ids.length + (file.includes('.long.') ? 10 : 0) + (sentence.length < 20 ? 50 : 0) +
    (/\bcontrol\b/.test(sentence) ? 100 : 0)
}

function link (file: string): string {
  const path = file.replace(/^test\//, '')
  return `[${path.replace(/(?:\.long)?(?:\.test)?\.ts$/, '')}](${path})`
}

if (import.meta.main) writeFileSync(caseIndexPath, caseIndex())
