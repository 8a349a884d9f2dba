import createError from '@fastify/error'
import type { FastifyRequest } from 'fastify'

export const NotFound = createError<[string]>('NOT_FOUND', 'There is no such %s', 404)
export const WrongPassword = createError('WRONG_PASSWORD', 'E-mail address or password is wrong', 401)
export const InvitationInvalid = createError(
  'INVITATION_INVALID',
  'The invitation or the password is wrong',
  401
)
export const PlanTooSmall = createError<[string]>('PLAN_TOO_SMALL', 'The plan %s has no more projects', 402)
const OwnersOnly = createError('OWNERS_ONLY', 'Only an owner may do this', 403)

/** The suite keeps tenants apart. What the users of one tenant may do is the application's. */
export async function ownersOnly (request: FastifyRequest): Promise<void> {
  if (request.user.role !== 'owner') throw new OwnersOnly()
}
