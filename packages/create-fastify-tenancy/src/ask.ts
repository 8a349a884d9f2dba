import { confirm, isCancel, select, text } from '@clack/prompts'
import type { Readable, Writable } from 'node:stream'

import { defaults, applicationNameProblem, type Choices } from './choices.ts'

interface Screen {
  readonly input: Readable
  readonly output: Writable
}

/** The user ended the questions with Ctrl-C or Escape. */
export class Cancelled extends Error {
  override name = 'Cancelled'
}

/**
 * Asks for each choice that is not given.
 *
 * @throws {Cancelled}
 */
export async function ask (given: Partial<Choices>, screen: Screen): Promise<Choices> {
  const name = given.name ?? answered(
    await text({
      ...screen,
      message: 'Name of the application',
      placeholder: defaults.name,
      defaultValue: defaults.name,
      validate: value => applicationNameProblem(value || defaults.name)
    })
  )
  const strategy = given.strategy ?? answered(
    await select({
      ...screen,
      message: 'What keeps tenants apart?',
      initialValue: defaults.strategy,
      options: [
        { value: 'rls', label: "PostgreSQL's row-level security", hint: 'shared tables, the best start' },
        { value: 'row', label: 'Rewriting of queries', hint: 'shared tables, no raw SQL' },
        { value: 'schema', label: 'A schema per tenant', hint: 'up to about 500 tenants' },
        { value: 'database', label: 'A database per tenant', hint: 'a few large tenants' }
      ]
    })
  )
  const database = given.database ?? answered(
    await select({
      ...screen,
      message: 'Where does it run in production? (Development and tests use PGlite in any case.)',
      initialValue: defaults.database,
      options: [
        { value: 'postgres', label: 'PostgreSQL' },
        { value: 'pglite', label: 'PGlite', hint: 'PostgreSQL inside the one process, data in a folder' }
      ]
    })
  )
  const redis = given.redis ?? answered(
    await confirm({
      ...screen,
      message: 'Redis, for more than one process?',
      initialValue: defaults.redis
    })
  )
  const language = given.language ?? answered(
    await select({
      ...screen,
      message: 'Language',
      initialValue: defaults.language,
      options: [{ value: 'ts', label: 'TypeScript' }, { value: 'js', label: 'JavaScript' }]
    })
  )
  return { name, strategy, database, redis, language }
}

function answered<T> (answer: T): Exclude<T, symbol> {
  if (isCancel(answer)) throw new Cancelled()
  return answer as Exclude<T, symbol>
}
