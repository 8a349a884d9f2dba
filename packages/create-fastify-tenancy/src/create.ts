import { CommanderError } from 'commander'
import { join } from 'node:path'
import type { Readable, Writable } from 'node:stream'

import { applicationFiles } from './application-files.ts'
import { ask, Cancelled } from './ask.ts'
import { choose, type Choices } from './choices.ts'
import { readCommandLine, type CommandLine } from './command-line.ts'
import { ChoiceError, FolderError } from './errors.ts'
import { firstNode } from './manifest.ts'
import { assertEmpty, writeFiles } from './write-files.ts'

/** Where the command reads and writes: the process, or the streams of a test. */
export interface Terminal {
  readonly stdin: Readable & { readonly isTTY?: boolean }
  readonly stdout: Writable & { readonly isTTY?: boolean }
  readonly stderr: Writable
  cwd(): string
  readonly version: string
}

const exitCode = { done: 0, failed: 1, usage: 2, interrupted: 130 } as const

/**
 * Runs one command line.
 *
 * @param argv without the names of node and of the script
 * @returns the exit code: 0 done, 1 the folder cannot be written, 2 wrong usage, 130 cancelled
 */
export async function create (argv: readonly string[], terminal: Terminal = process): Promise<number> {
  const { stdout, stderr } = terminal
  try {
    const line = readCommandLine(argv, {
      out: text => stdout.write(text),
      err: text => stderr.write(text)
    })
    const choices = await complete(line, terminal)
    const folder = join(terminal.cwd(), choices.name)
    const written = await writeFiles(folder, await applicationFiles(choices))
    stdout.write(report(choices, written, terminal.version))
    return exitCode.done
  } catch (error) {
    // Commander has printed its errors.
    if (error instanceof CommanderError) return error.exitCode === 0 ? exitCode.done : exitCode.usage
    if (error instanceof Cancelled) {
      stderr.write('Cancelled. Nothing was written.\n')
      return exitCode.interrupted
    }
    if (!(error instanceof ChoiceError || error instanceof FolderError)) throw error
    stderr.write(`error: ${error.message}\n`)
    return error instanceof ChoiceError ? exitCode.usage : exitCode.failed
  }
}

/** Returns all choices: given, asked for, or their defaults. */
async function complete ({ given, yes }: CommandLine, terminal: Terminal): Promise<Choices> {
  const known = choose(given)
  // A folder that cannot be used is named before the questions.
  if (given.name !== undefined || yes) await assertEmpty(join(terminal.cwd(), known.name))
  const { name, strategy, database, redis, language } = given
  const isComplete = [name, strategy, database, redis, language].every(choice => choice !== undefined)
  if (yes || isComplete) return known
  if (terminal.stdin.isTTY !== true || terminal.stdout.isTTY !== true)
    throw new ChoiceError(
      'there is no terminal to ask at: add --yes for the defaults, or name every choice (see --help)'
    )
  return ask(given, { input: terminal.stdin, output: terminal.stdout })
}

function report (choices: Choices, written: readonly string[], version: string): string {
  const needed = firstNode[choices.language]
  return `
Written into ${choices.name}:

${written.map(path => `  ${path}\n`).join('')}
Next:

  cd ${choices.name}
  npm install
  npm run dev        # serves acme.localhost:3000 and globex.localhost:3000, without Docker
  npm test           # shows that neither sees the other's rows
${
    isOlder(version, needed)
      ? `\nThis needs Node ${needed} or later, and here is ${version}: update Node first.\n`
      : ''
  }`
}

/** Whether a version of Node, `v22.12.0`, is older than the first one that is good, `22.18`. */
function isOlder (version: string, first: string): boolean {
  return version.replace('v', '').localeCompare(first, 'en', { numeric: true }) < 0
}
