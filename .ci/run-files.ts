// Runs test files as tap does, each in its own process, and writes one TAP report.
// `tap run` loads four hooks into each process, for mocks, coverage and TypeScript. Nothing here
// uses them, and they cost a third of an average file's time.
import { globSync, readFileSync, statSync } from 'node:fs'
import { relative, resolve, sep } from 'node:path'
import t from 'tap'
import { parse } from 'yaml'

interface Config {
  readonly include: string[]
  readonly 'node-arg'?: string[]
  readonly jobs?: number
  readonly timeout?: number
}

const config = parse(readFileSync('.taprc', 'utf8')) as Config
const { files, timeoutSeconds } = readArguments(process.argv.slice(2))

t.jobs = config.jobs ?? 1
t.setTimeout(0) // each file has a timeout of its own
if (files.length === 0) t.fail('no test file was found')
for (const file of files) {
  // tap adds a hook to NODE_OPTIONS. env(1) sets this variable after that.
  const command = [`NODE_OPTIONS=${process.env.NODE_OPTIONS ?? ''}`, `TAP_TIMEOUT=${timeoutSeconds}`,
    process.execPath, ...config['node-arg'] ?? [], file]
  void t.spawn('/usr/bin/env', command, {
    name: file,
    buffered: true,
    at: null,
    stack: '',
    timeout: timeoutSeconds * 1_000,
    stdio: ['ignore', 'pipe', 'inherit']
  })
}

/**
 * Returns the named files and folders, or all files of .taprc. Long files only run with
 * TEST_LONG=1.
 */
function readArguments (args: readonly string[]): { files: string[]; timeoutSeconds: number } {
  const timeout = args.find(arg => arg.startsWith('--timeout='))?.slice('--timeout='.length)
  const named = args.filter(arg => !arg.startsWith('--'))
  const patterns = named.length === 0
    ? config.include
    : named.map(name =>
      statSync(name, { throwIfNoEntry: false })?.isDirectory() ? `${name}/**/*.test.ts` : name
    )
  const found = patterns.flatMap(pattern => globSync(pattern)).map(file =>
    relative('.', resolve(file)).replaceAll(sep, '/')
  )
  const skipsLong = named.length === 0 && process.env.TEST_LONG !== '1'
  return {
    files: [...new Set(found)].filter(file => !(skipsLong && file.endsWith('.long.test.ts'))).toSorted(),
    timeoutSeconds: Number(timeout ?? config.timeout ?? 30)
  }
}
