// Which parts of which source files each test file executes, by V8's coverage, kept from run to run.
import { existsSync, globSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync,
  writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'

import { hashOf, type Mutant } from './mutants.ts'
import { runTest } from './run-test.ts'
import { foldersFor } from './targets.ts'

type Span = readonly [start: number, end: number]

/** What one test file executed. */
interface Executed {
  /** Hash of the test file. */
  readonly hash: string
  readonly ms: number
  readonly isPassing: boolean
  /** Spans by source file, with the hash that the file had. */
  readonly sources: Readonly<Record<string, { readonly hash: string; readonly spans: readonly Span[] }>>
}

export interface CoveringTest {
  readonly file: string
  readonly ms: number
}

interface V8Function {
  readonly ranges: readonly { startOffset: number; endOffset: number; count: number }[]
}

const limitMs = 180_000

/** The coverage of tests, read from a file and completed with runs. */
export class Coverage {
  readonly #file: string
  readonly #tests: Record<string, Executed>

  constructor (file: string) {
    this.#file = file
    this.#tests = existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) as Record<string, Executed> : {}
  }

  /** Runs the tests that are new or changed. Returns those that fail without any mutant. */
  async complete (
    sources: ReadonlySet<string>,
    inParallel: <T>(items: readonly T[], work: (item: T) => Promise<void>) => Promise<void>
  ): Promise<string[]> {
    const folders = [...sources].flatMap(foldersFor)
    const files = [...new Set(folders)].flatMap(folder => globSync(`test/${folder}/*.test.ts`))
      .filter(file => !file.endsWith('.long.test.ts'))
    const missing = files.filter(file => this.#tests[file]?.hash !== hashOf(file))
    await inParallel(missing, async file => {
      this.#tests[file] = await this.#measure(file)
      process.stderr.write(`coverage of ${file}: ${(this.#tests[file].ms / 1_000).toFixed(1)} s\n`)
      mkdirSync(dirname(this.#file), { recursive: true })
      writeFileSync(this.#file, JSON.stringify(this.#tests))
    })
    return files.filter(file => this.#tests[file]?.isPassing === false)
  }

  /**
   * Returns the passing tests that execute the mutated code, in the order of their folders. The
   * fastest of a folder is first.
   */
  of ({ file, start }: Mutant): CoveringTest[] {
    const folders = foldersFor(file)
    const placeOf = (test: string): number => folders.indexOf(test.split('/')[1] ?? '')
    return Object.entries(this.#tests).filter(([test, { isPassing, sources }]) => {
      const source = sources[file]
      if (!isPassing || source === undefined || placeOf(test) === -1) return false
      // Offsets of an older version say nothing, but the file is loaded by the test.
      return source.hash !== hashOf(file) || source.spans.some(([from, to]) => from <= start && start < to)
    }).map(([test, { ms }]) => ({ file: test, ms })).toSorted((a, b) =>
      placeOf(a.file) - placeOf(b.file) || a.ms - b.ms
    )
  }

  async #measure (file: string): Promise<Executed> {
    const folder = mkdtempSync(join(tmpdir(), 'coverage-'))
    try {
      const { outcome, ms } = await runTest(file, limitMs, { NODE_V8_COVERAGE: folder, TAP_BAIL: '0' })
      return { hash: hashOf(file), ms, isPassing: outcome === 'passed', sources: readSpans(folder) }
    } finally {
      rmSync(folder, { recursive: true, force: true })
    }
  }
}

/** Reads the executed spans of the packages' sources, from all processes of a test. */
function readSpans (folder: string): Executed['sources'] {
  const spans = new Map<string, Span[]>()
  for (const name of readdirSync(folder)) {
    const { result } = JSON.parse(readFileSync(join(folder, name), 'utf8')) as {
      result: { url: string; functions: V8Function[] }[]
    }
    for (const { url, functions } of result) {
      if (!/\/packages\/[^/]+\/src\/[^?]+\.ts$/.test(url)) continue
      const file = relative('.', fileURLToPath(url))
      spans.set(file, [...spans.get(file) ?? [], ...executed(functions)])
    }
  }
  return Object.fromEntries(
    [...spans].map(([file, found]) => [file, { hash: hashOf(file), spans: merge(found) }])
  )
}

/** Later and inner ranges override the ranges around them. */
function executed (functions: readonly V8Function[]): Span[] {
  const ranges = functions.flatMap(({ ranges }) => ranges).toSorted((a, b) =>
    a.startOffset - b.startOffset || b.endOffset - a.endOffset
  )
  const edges = [...new Set(ranges.flatMap(range => [range.startOffset, range.endOffset]))].toSorted((a, b) =>
    a - b
  )
  const spans: Span[] = []
  const open: typeof ranges = []
  let next = 0
  for (const [at, edge] of edges.entries()) {
    while (open.length > 0 && open.at(-1)!.endOffset <= edge) open.pop()
    while (next < ranges.length && ranges[next]!.startOffset <= edge) open.push(ranges[next++]!)
    const end = edges[at + 1]
    if (end !== undefined && (open.at(-1)?.count ?? 0) > 0) spans.push([edge, end])
  }
  return spans
}

function merge (spans: readonly Span[]): Span[] {
  const merged: [number, number][] = []
  for (const [start, end] of spans.toSorted((a, b) => a[0] - b[0])) {
    const last = merged.at(-1)
    if (last !== undefined && start <= last[1]) last[1] = Math.max(last[1], end)
    else merged.push([start, end])
  }
  return merged
}
