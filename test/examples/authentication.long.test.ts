// The file of docs/authentication.md: a token is good on the host of its own tenant, and on no other.
import type { FastifyInstance } from 'fastify'
import { symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'

import { importsOf, namedSnippets } from '../../.ci/snippets.ts'
import { root } from '../../.ci/sources.ts'

const page = join(root, 'packages/fastify-tenancy/docs/authentication.md')

t.test('AGR-01 the token of one tenant is refused on the host of another', async t => {
  const code = namedSnippets(page).get('auth.mjs') ?? ''
  t.equal(importsOf(code).length, 3, 'control')
  const folder = t.testdir()
  symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'))
  writeFileSync(join(folder, 'auth.mjs'), code)
  const { app } = await import(join(folder, 'auth.mjs')) as { app: FastifyInstance }
  t.teardown(() => app.close())

  const me = async (slug: string, token?: string) =>
    app.inject({
      url: '/me',
      headers: {
        host: `${slug}.example.com`,
        ...(token !== undefined && { authorization: `Bearer ${token}` })
      }
    })
  const login = await app.inject({ method: 'POST', url: '/login', headers: { host: 'acme.example.com' } })
  const { token } = login.json<{ token: string }>()
  t.same((await me('acme', token)).json(), { tenant: 'acme', user: 'ann' })
  t.match((await me('globex', token)).json(), { statusCode: 403, code: 'FST_TENANCY_TENANT_MISMATCH' })
  t.equal((await me('acme')).statusCode, 401)
})
