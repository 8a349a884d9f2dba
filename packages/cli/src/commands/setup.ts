import type { SetupReport } from '@fastify-tenancy/manager'
import { InvalidArgumentError, Option, type Command } from 'commander'

import { exitCode, type Runner } from '../run/runner.ts'
import type { Output } from '../terminal/output.ts'

/** Flags of the commands that can print their statements. */
interface PrintFlags {
  readonly print?: boolean
  readonly format?: 'sql' | 'kysely'
}

interface InitFlags extends PrintFlags {
  readonly harden?: boolean
  readonly dropOldSecrets?: boolean
  readonly tenantRoles?: boolean
  readonly newInstallation?: boolean
  readonly login?: string
}

interface ProtectFlags extends PrintFlags {
  readonly stage?: 'prepare' | 'observe' | 'enforce'
  readonly login?: string
}

export function addSetupCommands (program: Command, runner: Runner): void {
  printableScript(program.command('init')).description(
    'make roles, logins and the schema tenancy on every shard; runs as often as one likes'
  )
    .option('--harden', "also take from PUBLIC what no tenant's statement needs")
    .option(
      '--tenant-roles',
      "let the owner's login make roles of tenants, for some that live in schemas " +
        '(default: where the configuration asks for it)'
    )
    .option(
      '--drop-old-secrets',
      "let the database accept no secret but the configuration's; " +
        'refused while a process signs with another, unless --yes'
    )
    .option(
      '--new-installation',
      "make a new installation id, for a copy of a server's files: " +
        'it then shares no key of Redis with its original'
    )
    .option(
      '--login <url>',
      "a login that may create roles, for this one call (default: the owner's)",
      parseLogin
    )
    .action(runner.action<[], InitFlags>(async ({ manager, output }, _, flags) => {
      const {
        harden = false,
        dropOldSecrets = false,
        newInstallation = false,
        yes = false,
        tenantRoles,
        login
      } = flags
      return report(
        output,
        'initialised',
        await manager.init({
          harden,
          newInstallation,
          dropOldSecrets: dropOldSecrets && yes ? 'now' : dropOldSecrets,
          ...(tenantRoles !== undefined && { tenantRoles }),
          print: printed(flags),
          ...(login !== undefined && { url: login })
        })
      )
    }))

  printableScript(program.command('protect')).argument(
    '[table...]',
    'tables of the configuration (default: all)'
  )
    .description('put tables under their policies and privileges; after each migration that makes one')
    .addOption(
      new Option('--stage <stage>', 'for a database that is in use: one stage of its adoption').choices([
        'prepare',
        'observe',
        'enforce'
      ])
    )
    .option(
      '--login <url>',
      "a login that may change the tables, for this one call (default: the owner's)",
      parseLogin
    )
    .action(
      runner.action<[string[]], ProtectFlags>(
        async ({ manager, output }, [names], { stage, login, yes = false, ...flags }) => {
          return report(
            output,
            stage === undefined ? 'protected' : `${stage}d`,
            await manager.protect({
              ...(names.length > 0 && { only: names }),
              ...(stage !== undefined && { stage }),
              force: yes,
              print: printed(flags),
              ...(login !== undefined && { url: login })
            })
          )
        }
      )
    )
}

function parseLogin (url: string): string {
  if (!/^postgres(?:ql)?:\/\//.test(url) || !URL.canParse(url.replace('@/', '@host/')))
    throw new InvalidArgumentError('write a URL such as postgres://user@host/database.')
  return url
}

/** Adds `--print` and `--format`. */
function printableScript (command: Command): Command {
  return command
    .option('--print', 'change nothing, and print what would run')
    .addOption(new Option('--format <format>', 'of what is printed').choices(['sql', 'kysely']))
}

/** Returns the format to print in, or false. `--format` implies `--print`. */
function printed ({ print = false, format }: PrintFlags): 'sql' | 'kysely' | false {
  return print || format !== undefined ? format ?? 'sql' : false
}

/**
 * Prints what was done and what is left. Returns the exit code, which is a failure if a step is
 * left.
 */
function report (output: Output, done: string, { scripts, remarks, left }: SetupReport): number {
  for (const remark of remarks) output.log(remark)
  const isLeft = scripts.length === 0 && left.length > 0
  output.result({ scripts, remarks, left }, () => {
    if (scripts.length > 0) return scripts.map(({ text }) => text).join('\n')
    return isLeft
      ? `${done}, but for ${left.length === 1 ? 'one thing' : `${left.length} things`}: see above`
      : done
  }, { script: scripts.length > 0 })
  return isLeft ? exitCode.failed : exitCode.done
}
