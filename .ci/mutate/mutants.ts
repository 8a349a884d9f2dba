// Lists the mutants of source files, by StrykerJS' mutators, and takes a seeded sample of them.
import { Instrumenter } from '@stryker-mutator/instrumenter'
import { createHash } from 'node:crypto'
import { globSync, readFileSync } from 'node:fs'

export interface Mutant {
  readonly file: string
  readonly line: number
  /** Offsets of the replaced text. */
  readonly start: number
  readonly end: number
  readonly mutator: string
  readonly original: string
  readonly replacement: string
  /** The source line in which the replaced text starts. */
  readonly text: string
}

const silent = {
  isTraceEnabled: () => false,
  isDebugEnabled: () => false,
  isInfoEnabled: () => false,
  isWarnEnabled: () => false,
  isErrorEnabled: () => false,
  isFatalEnabled: () => false,
  trace () {},
  debug () {},
  info () {},
  warn () {},
  error () {},
  fatal () {}
}

/** Returns all mutants of the files that match, ordered by file and position. */
export async function listMutants (patterns: readonly string[]): Promise<Mutant[]> {
  const names = [...new Set(patterns.flatMap(pattern => globSync(pattern)))].toSorted()
  const contents = new Map(names.map(name => [name, readFileSync(name, 'utf8')]))
  const files = names.map(name => ({ name, mutate: true as const, content: contents.get(name) ?? '' }))
  const options = { plugins: null, excludedMutations: [], ignorers: [] }
  const { mutants } = await new Instrumenter(silent).instrument(files, options)
  return mutants.map(({ fileName, location, mutatorName, replacement }) => {
    const content = contents.get(fileName) ?? ''
    const lines = content.split('\n')
    const offset = ({ line, column }: { line: number; column: number }): number =>
      lines.slice(0, line).reduce((sum, text) => sum + text.length + 1, column)
    const [start, end] = [offset(location.start), offset(location.end)]
    return {
      file: fileName,
      line: location.start.line + 1,
      start,
      end,
      mutator: mutatorName,
      original: content.slice(start, end),
      replacement: replacement ?? '',
      text: lines[location.start.line]?.trim() ?? ''
    }
  }).filter(mutant => !isWording(mutant)).toSorted((a, b) =>
    a.file < b.file ? -1 : a.file > b.file ? 1 : a.start - b.start
  )
}

// Three words or more that are no SQL: the text of an error or of a log line. Few tests compare
// whole sentences, and a changed sentence endangers no tenant.
function isWording ({ mutator, original }: Mutant): boolean {
  return mutator === 'StringLiteral' && /[a-z]+ [a-z]+ [a-z]+/i.test(original) &&
    !/\b(?:select|insert|update|delete|set|begin|commit|rollback|local|redis\.call|from)\b/i.test(original)
}

/** Returns `count` of the items, chosen by the seed. */
export function sample<T> (items: readonly T[], seed: number, count: number): T[] {
  const rest = [...items]
  const random = mulberry32(seed)
  const chosen: T[] = []
  while (chosen.length < count && rest.length > 0) {
    const at = Math.floor(random() * rest.length)
    const [item] = rest.splice(at, 1, rest.at(-1)!)
    rest.pop()
    chosen.push(item!)
  }
  return chosen
}

/** A small generator of numbers from 0 to 1, the same for the same seed. */
function mulberry32 (seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6D2B79F5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296
  }
}

/** Returns the source with the mutant in it. */
export function mutated ({ file, start, end, replacement }: Mutant): string {
  const content = readFileSync(file, 'utf8')
  return content.slice(0, start) + replacement + content.slice(end)
}

export function hashOf (file: string): string {
  return createHash('sha256').update(readFileSync(file)).digest('hex').slice(0, 16)
}
