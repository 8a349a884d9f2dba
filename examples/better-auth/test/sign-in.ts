import type { FastifyInstance } from 'fastify'

/** Signs a user up and makes their organization. Returns the header that proves who asks. */
export async function signUp (app: FastifyInstance, slug: string): Promise<{ authorization: string }> {
  const send = async (url: string, payload: object, headers: Record<string, string> = {}) => {
    const reply = await app.inject({ method: 'POST', url: `/api/auth${url}`, headers, payload })
    if (reply.statusCode !== 200) throw new Error(reply.body)
    return reply.json<{ token: string }>()
  }
  const person = { name: slug, email: `owner@${slug}.com`, password: 'correct horse' }
  const { token } = await send('/sign-up/email', person)
  const authorization = `Bearer ${token}`
  await send('/organization/create', { name: `${slug} Inc.`, slug }, { authorization })
  return { authorization }
}
