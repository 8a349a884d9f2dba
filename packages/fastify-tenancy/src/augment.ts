import type { Tenancy } from './tenancy.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** What the suite offers apart from requests. */
    readonly tenancy: Tenancy
  }
}
