import { ChoiceError } from './errors.ts'

export const strategies = ['rls', 'row', 'schema', 'database'] as const
export const databases = ['postgres', 'pglite'] as const
export const languages = ['ts', 'js'] as const

export type StrategyChoice = typeof strategies[number]
export type DatabaseChoice = typeof databases[number]
export type Language = typeof languages[number]

/** What an application is made of. */
export interface Choices {
  /** The folder, and the name in `package.json`. */
  readonly name: string
  readonly strategy: StrategyChoice
  /** Where the application runs in production. `npm run dev` and `npm test` use PGlite in any case. */
  readonly database: DatabaseChoice
  readonly redis: boolean
  readonly language: Language
}

export const defaults: Choices = {
  name: 'tenancy-app',
  strategy: 'rls',
  database: 'postgres',
  redis: false,
  language: 'ts'
}

/** Returns why a name cannot be the name of a package and a folder, or undefined if it can. */
export function applicationNameProblem (name: string): string | undefined {
  if (!/^[a-z0-9][a-z0-9._-]{0,99}$/.test(name))
    return `the name '${name}' must begin with a lower-case letter or a digit, ` +
      'and have at most 100 characters of a-z 0-9 . _ -'
  return name === 'node_modules' ? "a package cannot have the name 'node_modules'" : undefined
}

/**
 * Returns the given choices with the defaults of all others.
 *
 * @throws {ChoiceError} if a value is not one of its choices
 */
export function choose (given: Partial<Choices>): Choices {
  const choices = { ...defaults, ...given }
  const problem = applicationNameProblem(choices.name)
  if (problem !== undefined) throw new ChoiceError(problem)
  oneOf('strategy', choices.strategy, strategies)
  oneOf('database', choices.database, databases)
  oneOf('redis', choices.redis, [true, false])
  oneOf('language', choices.language, languages)
  return choices
}

function oneOf (name: string, value: unknown, known: readonly unknown[]): void {
  if (!known.includes(value))
    throw new ChoiceError(`${name} must be one of ${known.join(', ')}, got '${String(value)}'`)
}
