import { buildApp } from '../src/app.ts'

type Settings = Parameters<typeof buildApp>[0]

/** Returns the application on a database of the test, without limits. */
export function testApp (settings: Partial<Settings> = {}): ReturnType<typeof buildApp> {
  return buildApp({
    databaseUrl: process.env.DATABASE_URL ?? 'pglite://memory',
    baseDomain: 'example.com',
    secret: 'a secret of the tests, 32 characters',
    limits: false,
    logger: false,
    ...settings
  })
}
