// Compiles every TypeScript snippet of the READMEs and guides. `node .ci/compile-snippets.ts`
// A snippet is a module. What it leaves out is declared in .ci/snippets; `…` is what the reader writes.
import { execFileSync } from 'node:child_process'
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync,
  writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { packageFolders, root } from './sources.ts'

export interface Snippet {
  /** Page and line of the first line of code. */
  readonly place: string
  readonly code: string
}

/** READMEs and guides, by their path from the root. */
export function readersPages (): string[] {
  const folders = packageFolders().filter(folder => folder !== 'benchmarks').map(folder =>
    join('packages', folder)
  )
  const guides = folders.map(folder => join(folder, 'docs')).filter(docs => existsSync(join(root, docs)))
  return ['README.md', ...folders.map(folder => join(folder, 'README.md')),
    ...guides.flatMap(docs =>
      readdirSync(join(root, docs)).filter(name => name.endsWith('.md')).map(name => join(docs, name))
    )]
}

/** TypeScript snippets of the pages whose files do not need each other. Tests of their own run the others. */
export function snippets (): Snippet[] {
  return readersPages().filter(page => !/\/(?:start|first-application)\.md$/.test(page)).flatMap(page => {
    const text = readFileSync(join(root, page), 'utf8')
    return Array.from(text.matchAll(/^```ts\n([^]*?)^```$/gm), ({ 1: code = '', index }) => ({
      place: `${page}:${text.slice(0, index).split('\n').length + 1}`,
      code
    }))
  })
}

/** Returns a snippet as a module, with something in the place of each `…`. */
export function moduleOf (code: string): string {
  return `${
    code.replaceAll(/(?<=\{\s*)…,/g, '...options,').replaceAll(/=> …/g, '=> undefined')
      .replaceAll(/\{ … \}/g, '{}').replaceAll(/^\s*…$/gm, '')
  }\nexport {}\n`
}

const compilerOptions = {
  target: 'es2024',
  lib: ['es2024', 'esnext.disposable'],
  module: 'nodenext',
  types: ['node'],
  noEmit: true,
  strict: true,
  experimentalDecorators: true,
  skipLibCheck: true
}

/** Returns what the compiler says of the snippets, each line with the place in its page. */
export function compileSnippets (all: readonly Snippet[]): string[] {
  const folder = mkdtempSync(join(tmpdir(), 'snippets-'))
  try {
    symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'))
    writeFileSync(join(folder, 'package.json'), '{ "type": "module" }')
    // A module augmentation is for the whole program, so each such snippet is a program of its own.
    const alone = all.filter(({ code }) => code.includes('declare module'))
    const programs = [all.filter(snippet => !alone.includes(snippet)), ...alone.map(snippet => [snippet])]
    return programs.filter(program => program.length > 0).flatMap((program, n) =>
      compile(program, join(folder, `program-${n}`), all)
    )
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

function compile (program: readonly Snippet[], folder: string, all: readonly Snippet[]): string[] {
  mkdirSync(folder)
  const declarations = ['ambient.d.ts']
  if (!program[0]?.code.includes('declare module')) declarations.push('register.d.ts')
  for (const name of declarations) copyFileSync(join(root, '.ci/snippets', name), join(folder, name))
  const files = program.map(snippet => `snippet-${all.indexOf(snippet)}.ts`)
  for (const [i, { code }] of program.entries()) writeFileSync(join(folder, files[i] ?? ''), moduleOf(code))
  writeFileSync(
    join(folder, 'tsconfig.json'),
    JSON.stringify({ compilerOptions, files: [...declarations, ...files] })
  )
  const compiler = join(root, 'node_modules/@typescript/native/bin/tsc')
  try {
    execFileSync(process.execPath, [compiler, '--project', folder, '--pretty', 'false'], { encoding: 'utf8' })
    return []
  } catch (error) {
    const { stdout = '' } = error as { readonly stdout?: string }
    if (stdout === '') throw error
    return stdout.trim().split('\n').map(line =>
      line.replace(/^.*snippet-(\d+)\.ts\((\d+),\d+\)/, (_, index: string, row: string) => {
        const [page = '', first = ''] = all[Number(index)]?.place.split(':') ?? []
        return `${page}:${Number(first) + Number(row) - 1}`
      })
    )
  }
}

if (import.meta.main) {
  const all = snippets()
  const problems = compileSnippets(all)
  for (const problem of problems) console.error(problem)
  console.log(`${all.length} snippets, ${problems.length} problems`)
  process.exitCode = problems.length === 0 ? 0 : 1
}
