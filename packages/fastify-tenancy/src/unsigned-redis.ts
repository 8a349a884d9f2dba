/** The warning at boot for an application with Redis and without a secret. */
export const unsignedRedis: string =
  'records and cached values in redis are not signed: a client of Redis can make a host serve ' +
  'another tenant, and change cached values; set options.rls.secret'
