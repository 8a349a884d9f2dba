// Tables for people. Prints them, and with --save puts them into the README between their marks.
import { readFileSync, writeFileSync } from 'node:fs'
import { cpus } from 'node:os'
import { join } from 'node:path'

import type { Race, Spread } from './race.ts'

/** One pair of columns: a figure, and its ratio to the baseline. */
export interface Column {
  readonly figure: string
  readonly title: string
  readonly digits?: number
}

/** A promise about one ratio, and whether it is kept. */
export interface BenchTarget {
  readonly name: string
  readonly figure: string
  readonly atMost?: number
  readonly atLeast?: number
  /** The contender to compare with, if it is not the baseline. */
  readonly against?: string
}

/** Returns the table of a race: figures as medians, ratios as median and middle half. */
export function markdownTable (
  race: Race,
  columns: readonly Column[],
  targets: readonly BenchTarget[] = []
): string {
  const title = columns.flatMap(({ title }) => [title, 'ratio'])
  const names = [race.baseline, ...race.names.filter(name => name !== race.baseline)]
  const rows = names.map(name => [
    name,
    ...columns.flatMap(({ figure, digits = 2 }) => [
      race.figure(name, figure).median.toFixed(digits),
      name === race.baseline ? '1' : show(race.ratio(name, figure))
    ]),
    targets.filter(target => target.name === name).map(target => verdict(race, target)).join('; ')
  ])
  return markdown(['', ...title, 'target'], rows)
}

export function markdown (head: readonly string[], rows: readonly (readonly string[])[]): string {
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n')
}

function line (cells: readonly string[]): string {
  return `| ${cells.join(' | ')} |`
}

function show ({ low, median, high }: Spread): string {
  return `**${median.toFixed(2)}** (${low.toFixed(2)}–${high.toFixed(2)})`
}

function verdict (race: Race, { name, figure, atMost, atLeast, against }: BenchTarget): string {
  const { median } = against === undefined ? race.ratio(name, figure) : race.ratioTo(name, against, figure)
  const bound = atMost === undefined ? `≥ ${atLeast}` : `≤ ${atMost}`
  const isMet = atMost === undefined ? median >= (atLeast ?? 0) : median <= atMost
  const what = against === undefined
    ? `${figure} ${bound}`
    : `${figure} ${bound} of ${against}: ${median.toFixed(2)}`
  return `${what} ${isMet ? '✓' : '**missed**'}`
}

/** Prints a result, and with `--save` replaces it in the README. */
export function report (name: string, text: string): void {
  const result = `${text}\n\n${new Date().toISOString().slice(0, 10)}, ${machine()}`
  process.stdout.write(`${result}\n`)
  if (!process.argv.includes('--save')) return
  const path = join(import.meta.dirname, '../README.md')
  const readme = readFileSync(path, 'utf8')
  const [start, end] = [`<!-- bench:${name} -->`, `<!-- /bench:${name} -->`]
  const from = readme.indexOf(start)
  const to = readme.indexOf(end)
  if (from < 0 || to < from) throw new Error(`README.md has no place for bench:${name}`)
  writeFileSync(path, `${readme.slice(0, from + start.length)}\n${result}\n${readme.slice(to)}`)
}

function machine (): string {
  return `${cpus().length} shared cores (${
    cpus()[0]?.model.trim() ?? 'unknown'
  }), Node ${process.versions.node}, ${versions('pg', 'kysely', 'fastify', 'ioredis').join(', ')}`
}

/** Returns `name version` of installed packages. */
export function versions (...names: readonly string[]): string[] {
  return names.map(name => {
    let folder = import.meta.dirname
    for (;;) {
      try {
        return `${name} ${
          (JSON.parse(readFileSync(join(folder, 'node_modules', name, 'package.json'), 'utf8')) as {
            version: string
          }).version
        }`
      } catch {
        const parent = join(folder, '..')
        if (parent === folder) return name
        folder = parent
      }
    }
  })
}
