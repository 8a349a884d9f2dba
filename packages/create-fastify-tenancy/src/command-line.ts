import { Command, Option } from 'commander'
import { createRequire } from 'node:module'

import { databases, defaults, languages, strategies, type Choices } from './choices.ts'
import { ChoiceError } from './errors.ts'

const { version } = createRequire(import.meta.url)('create-fastify-tenancy/package.json') as {
  version: string
}

/** What the command line says. A choice that it does not name is absent. */
export interface CommandLine {
  readonly given: Partial<Choices>
  /** Whether choices that are not named take their defaults, instead of being asked for. */
  readonly yes: boolean
}

interface Flags extends Partial<Choices> {
  readonly yes?: boolean
}

/** Where commander prints help and errors. */
interface HelpOutput {
  readonly out: (text: string) => void
  readonly err: (text: string) => void
}

/**
 * Reads a command line.
 *
 * @throws commander's CommanderError, after it printed help or what is wrong
 * @throws {ChoiceError} if two names are given
 */
export function readCommandLine (argv: readonly string[], { out, err }: HelpOutput): CommandLine {
  const program = new Command('create-fastify-tenancy')
    .description('Writes a multitenant Fastify application into a new folder. Asks for what no flag says.')
    .version(version, '--version', 'print the version')
    .argument('[name]', 'the folder of the application, and the name of its package')
    .option('--name <name>', 'the same as the argument')
    .addOption(
      new Option('--strategy <strategy>', `how tenants are kept apart (default: ${defaults.strategy})`)
        .choices(strategies)
    )
    .addOption(
      new Option('--database <database>', `where it runs in production (default: ${defaults.database})`)
        .choices(databases)
    )
    .option('--redis', 'share cache and limits between processes through Redis')
    .option('--no-redis', 'keep cache and limits in the one process (default)')
    .addOption(
      new Option('--language <language>', `TypeScript or JavaScript (default: ${defaults.language})`)
        .choices(languages)
    )
    .option('--yes', 'ask nothing: what no flag says has its default')
    .allowExcessArguments(false)
    .exitOverride()
    .configureOutput({ writeOut: out, writeErr: err })
    .parse([...argv], { from: 'user' })
  const { yes = false, name: flag, ...flags } = program.opts<Flags>()
  const [argument] = program.args
  if (argument !== undefined && flag !== undefined && argument !== flag)
    throw new ChoiceError(`two names are given, '${argument}' and --name '${flag}': leave one out`)
  const name = argument ?? flag
  return { given: { ...flags, ...(name !== undefined && { name }) }, yes }
}
