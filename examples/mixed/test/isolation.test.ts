// Does the application keep its tenants apart, whatever their strategies are?
import { assertIsolated } from '@fastify-tenancy/testing' // before the application
import { test } from 'node:test'

import { buildApp } from '../src/app.ts'
import { optionsOf, setUp, strategies } from '../src/options.ts'

test('a tenant sees nothing of a tenant with another strategy', async () => {
  const options = optionsOf(
    process.env.DATABASE_URL ?? 'pglite://memory',
    'a secret of the tests, 32 characters'
  )
  const manager = await setUp(options)
  const app = await buildApp(options, false)
  try {
    for (
      const [victim, attacker] of [['acme', 'globex'], ['initech', 'acme'], ['umbrella', 'initech']] as const
    ) {
      const report = await assertIsolated(app, { victim: { slug: victim }, attacker: { slug: attacker } })
      console.log(`${strategies[attacker]} looks for ${strategies[victim]}: ${String(report)}`)
    }
  } finally {
    await app.close()
    for (const slug of Object.keys(strategies)) {
      await manager.delete({ slug })
      await manager.purge({ slug })
    }
    await manager.close()
    await options.close()
  }
})
