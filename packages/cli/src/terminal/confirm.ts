import { createInterface } from 'node:readline/promises'
import type { Streams } from './streams.ts'

/** A mistake in how the user called the command. */
export class UsageError extends Error {
  readonly code = 'USAGE'
}

/**
 * Asks before an operation that cannot be undone, unless `--yes` is set. The user at the terminal
 * confirms by typing the name.
 *
 * @returns whether the user has confirmed
 * @throws UsageError without `--yes` and without a terminal
 */
export async function confirm (
  { stdin, stderr }: Streams,
  { what, name, yes = false }: {
    readonly what: string
    readonly name: string
    readonly yes?: boolean | undefined
  }
): Promise<boolean> {
  if (yes) return true
  if (stdin.isTTY !== true)
    throw new UsageError(`${what} cannot be undone, and there is no terminal to ask at: add --yes`)
  const question = createInterface({ input: stdin, output: stderr })
  try {
    return (await question.question(`${what} cannot be undone. Type ${name} to go on: `)).trim() === name
  } finally {
    question.close()
  }
}
