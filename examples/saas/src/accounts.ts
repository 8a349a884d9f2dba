import type { GlobalKysely } from 'fastify-tenancy'
import { createHash, randomBytes } from 'node:crypto'

import { hashPassword, isPassword } from './passwords.ts'
import type { Role } from './schema.ts'

export interface Account {
  readonly userId: string
  readonly role: Role
}

/**
 * Users, memberships and invitations. They stand in global tables, because one user may belong to
 * several tenants. No policy guards these tables, so each statement here names the tenant itself.
 * No other file uses them.
 */
export class Accounts {
  readonly #db: GlobalKysely

  constructor (db: GlobalKysely) {
    this.#db = db
  }

  /** Returns the id of the user, made if there is none, or undefined if the password is wrong. */
  async signIn (email: string, password: string): Promise<string | undefined> {
    const made = await this.#db.insertInto('users').values({ email, password: await hashPassword(password) })
      .onConflict(on => on.column('email').doNothing()).returning('id').executeTakeFirst()
    if (made !== undefined) return made.id
    const user = await this.#db.selectFrom('users').selectAll().where('email', '=', email)
      .executeTakeFirstOrThrow()
    return await isPassword(password, user.password) ? user.id : undefined
  }

  /** Returns the member of this tenant with this password, if there is one. */
  async member (tenantId: string, email: string, password: string): Promise<Account | undefined> {
    const found = await this.#db.selectFrom('memberships')
      .innerJoin('users', 'users.id', 'memberships.user_id')
      .select(['users.id as userId', 'users.password', 'memberships.role'])
      .where('memberships.tenant_id', '=', tenantId).where('users.email', '=', email)
      .executeTakeFirst()
    if (!await isPassword(password, found?.password) || found === undefined) return undefined
    return { userId: found.userId, role: found.role }
  }

  async join (tenantId: string, userId: string, role: Role): Promise<void> {
    await this.#db.insertInto('memberships').values({ tenant_id: tenantId, user_id: userId, role })
      .onConflict(on => on.columns(['tenant_id', 'user_id']).doNothing()).execute()
  }

  async leave (tenantId: string, userId: string): Promise<void> {
    await this.#db.deleteFrom('memberships').where('tenant_id', '=', tenantId)
      .where('user_id', '=', userId).execute()
  }

  members (tenantId: string): Promise<{ email: string; role: Role }[]> {
    return this.#db.selectFrom('memberships').innerJoin('users', 'users.id', 'memberships.user_id')
      .select(['users.email', 'memberships.role']).where('memberships.tenant_id', '=', tenantId)
      .orderBy('users.email').execute()
  }

  /** Returns the token for the invited person's mail. Only its hash is stored. */
  async invite (tenantId: string, email: string, role: Role): Promise<string> {
    const token = randomBytes(24).toString('base64url')
    await this.#db.insertInto('invitations').values({
      token_hash: hashOf(token),
      tenant_id: tenantId,
      email,
      role,
      expires_at: new Date(Date.now() + 7 * 24 * 3_600_000)
    }).execute()
    return token
  }

  /** Makes the invited person a member, if the invitation is this tenant's. It serves once. */
  async accept (tenantId: string, token: string, password: string): Promise<Account | undefined> {
    const invitation = await this.#db.selectFrom('invitations').select(['email', 'role'])
      .where('token_hash', '=', hashOf(token)).where('tenant_id', '=', tenantId)
      .where('expires_at', '>', new Date()).executeTakeFirst()
    if (invitation === undefined) return undefined
    const userId = await this.signIn(invitation.email, password)
    if (userId === undefined) return undefined
    const used = await this.#db.deleteFrom('invitations').where('token_hash', '=', hashOf(token))
      .returning('token_hash').executeTakeFirst()
    if (used === undefined) return undefined
    await this.join(tenantId, userId, invitation.role)
    return { userId, role: invitation.role }
  }
}

function hashOf (token: string): string {
  return createHash('sha256').update(token).digest('hex')
}
