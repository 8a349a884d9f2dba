/** The warning at boot for an application with Redis and without a secret. */
export const unsignedRedis =
  'records and cached values in redis are not signed: a writer to it can have a host served as another tenant, and change cached values; give options.rls.secret'
