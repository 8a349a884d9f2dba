// Stands for the suite, which hands core's names on.
export type { Register } from '@fastify-tenancy/core'
