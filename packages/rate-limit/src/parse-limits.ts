import { OptionInvalidError } from '@fastify-tenancy/core'
import { isAlias, isMap, isScalar, LineCounter, parseDocument, type Document, type Node,
  type YAMLMap } from 'yaml'

import { checkLimits, type KeyPath } from './check-limits.ts'
import type { LimitsParts } from './limits.ts'

/**
 * Parses the text of a limits file: strict JSON if the name ends in `.json`, else YAML 1.2 (a
 * superset of JSON). A byte order mark and CRLF are accepted. An empty text, a duplicate key and a
 * second document are not.
 *
 * @throws FST_TENANCY_OPTION_INVALID naming the file, the line and the key.
 */
export function parseLimits (text: string, name: string): LimitsParts {
  const plain = text.startsWith('\uFEFF') ? text.slice(1) : text
  if (plain.trim() === '')
    throw new OptionInvalidError(`${name}: the file is empty; write {} for the defaults`)
  return name.endsWith('.json') ? parseJson(plain, name) : parseYaml(plain, name)
}

// YAML finds line numbers and duplicates, but takes 90 times as long. So a JSON file is parsed as
// YAML only if it contains a mistake.
function parseJson (text: string, name: string): LimitsParts {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (error) {
    throw new OptionInvalidError(`${name}: ${error instanceof Error ? error.message : 'not JSON'}`)
  }
  if (countKeys(value) !== countKeysOfText(text)) return parseYaml(text, name)
  try {
    return checkLimits(value, 'limits')
  } catch {
    return parseYaml(text, name)
  }
}

function parseYaml (text: string, name: string): LimitsParts {
  const lines = new LineCounter()
  // The library's check of unique keys compares each key with every other, so `refuseDuplicates`
  // replaces it.
  const document = parseDocument(text, { lineCounter: lines, uniqueKeys: false, prettyErrors: false })
  const lineAt = (offset: number | undefined): string =>
    offset === undefined ? '' : `, line ${lines.linePos(offset).line}`
  const [error] = [...document.errors, ...document.warnings]
  if (error !== undefined) throw new OptionInvalidError(`${name}${lineAt(error.pos[0])}: ${error.message}`)
  refuseDuplicates(document, document.contents, name, lineAt)
  return checkLimits(
    toPlain(document, name),
    'limits',
    path => `${name}${lineAt(findOffset(document, path))}: `
  )
}

/** Nested aliases that would exhaust memory are reported like any other mistake in the file. */
function toPlain (document: Document, name: string): unknown {
  try {
    return document.toJS({ maxAliasCount: 100 })
  } catch (error) {
    throw new OptionInvalidError(`${name}: ${error instanceof Error ? error.message : 'not YAML'}`)
  }
}

function refuseDuplicates (
  document: Document,
  node: Node | null,
  name: string,
  lineAt: (offset: number | undefined) => string
): void {
  if (!isMap(node)) return
  const seen = new Set<string>()
  for (const { key, value } of (node as YAMLMap<Node, Node | null>).items) {
    const named = isAlias(key) ? key.resolve(document) ?? key : key
    const text = isScalar(named) ? String(named.value) : String(named)
    if (seen.has(text))
      throw new OptionInvalidError(`${name}${lineAt(key.range?.[0])}: the key ${text} is given twice`)
    seen.add(text)
    refuseDuplicates(document, value, name, lineAt)
  }
}

/** Returns the offset of the key at `path`, or of the nearest parent key if it is missing. */
function findOffset (document: Document, path: KeyPath): number | undefined {
  let node: unknown = document.contents
  let offset: number | undefined
  for (const step of path) {
    if (!isMap(node)) break
    const pair = (node as YAMLMap<Node, Node | null>).items.find(({ key }) =>
      isScalar(key) && String(key.value) === step
    )
    if (pair === undefined) break
    offset = pair.key.range?.[0]
    node = pair.value
  }
  return offset
}

function countKeys (value: unknown): number {
  if (typeof value !== 'object' || value === null) return 0
  const inner = Object.values(value)
  return inner.reduce<number>((sum, one) => sum + countKeys(one), Array.isArray(value) ? 0 : inner.length)
}

/** Counts the keys of valid JSON: every string before a colon is a key. */
function countKeysOfText (text: string): number {
  let keys = 0
  for (const [, colon] of text.matchAll(/"(?:[^"\\]|\\.)*"\s*(:)?/g)) {
    if (colon !== undefined) keys++
  }
  return keys
}
