import { nameProblem } from '@fastify-tenancy/core/names'
import { checkOptions, nonEmptyString } from '@fastify-tenancy/core/options'
import * as v from 'valibot'

const schema = v.pipe(
  nonEmptyString,
  v.check(value => nameProblem(value) === undefined, nameProblem(''))
)

/**
 * Checks the name of a person or a job for the audit.
 *
 * @throws FST_TENANCY_OPTION_INVALID
 */
export function actorOf (input: string): string {
  return checkOptions(schema, input, 'the actor of as()')
}
