/** What a package may cost its users. */
export interface Budget {
  /** Bytes of the tarball: a quarter more than at 0.1.0. */
  readonly tarball: number
  /** Direct dependencies that npm installs, without peers. */
  readonly dependencies: number
}

/** Budgets by folder below packages/. Raise one only with a reason in the commit. */
export const budgets: Readonly<Record<string, Budget>> = {
  cache: { tarball: 86_000, dependencies: 5 },
  cli: { tarball: 80_000, dependencies: 7 },
  console: { tarball: 105_000, dependencies: 5 },
  core: { tarball: 94_000, dependencies: 3 },
  'create-fastify-tenancy': { tarball: 100_000, dependencies: 6 },
  database: { tarball: 515_000, dependencies: 5 },
  'fastify-tenancy': { tarball: 150_000, dependencies: 8 },
  manager: { tarball: 636_000, dependencies: 7 },
  postgres: { tarball: 347_000, dependencies: 3 },
  'rate-limit': { tarball: 119_000, dependencies: 7 },
  redis: { tarball: 64_000, dependencies: 2 },
  resolver: { tarball: 123_000, dependencies: 8 },
  telemetry: { tarball: 38_000, dependencies: 2 },
  testing: { tarball: 190_000, dependencies: 1 }
}
