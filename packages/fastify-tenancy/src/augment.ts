import type { Tenancy } from './tenancy.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** The API of the suite outside requests. */
    readonly tenancy: Tenancy
  }
}
